//! A private network for real connections: two hosts on one link, NAT between them, and a cgroup.
//!
//! The demo, the bench and the tests run real TCP here without preparing or disturbing the machine.
//! A [`Bed`] consists of unnamed network namespaces, interfaces that exist only inside them, and
//! one cgroup that is removed with the bed. It needs no installed tools, since it uses netlink.
//!
//! ```no_run
//! use std::net::{TcpListener, TcpStream};
//! use tcp_shunt::bed::Bed;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let bed = Bed::new()?;
//! let listener = bed.in_server(|| TcpListener::bind((Bed::SERVER_V4, 8080)))??;
//! let client = bed.in_client(|| TcpStream::connect((Bed::SERVER_V4, 8080)))??;
//! let (server, _) = listener.accept()?;
//! # Ok(())
//! # }
//! ```
//!
//! A socket belongs for good to the namespace and the cgroup of the thread that created it (an
//! accepted socket to those of its listener). So only its creation must happen inside; it can be
//! used from any thread.

mod cgroup;
mod error;
mod proxy;
mod redirect;
mod topology;

pub use cgroup::Cgroup;
pub use error::Error;
pub use proxy::Proxy;
pub use redirect::{Hook, Nat};
pub use topology::Bed;
