use std::io;
use std::net::{Shutdown, SocketAddr};
use std::thread::{self, JoinHandle};

use socket2::{Domain, Protocol, Socket, Type};

use crate::bench::traffic;

/// Handler of a connection.
pub type Service = fn(&Socket) -> io::Result<()>;

/// A server with a thread per connection. Dropping it waits for its clients to close.
#[derive(Debug)]
pub struct Server {
    listener: Socket,
    acceptor: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens on `address` in the namespace and cgroup of the calling thread.
    pub fn start(address: SocketAddr, service: Service) -> io::Result<Self> {
        let listener =
            Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        listener.bind(&address.into())?;
        listener.listen(128)?;
        let own = listener.try_clone()?;
        let acceptor = thread::Builder::new()
            .name("demo-server".into())
            .spawn(move || accept(&own, service))?;
        Ok(Self { listener, acceptor: Some(acceptor) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Wakes the thread in accept, which close would not.
        let _ = self.listener.shutdown(Shutdown::Both);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn accept(listener: &Socket, service: Service) {
    thread::scope(|scope| {
        while let Ok((client, _)) = listener.accept() {
            let serve = move || traffic::prepare(client).and_then(|client| service(&client));
            // The client sees a failed connection end, and reports it.
            let _ = thread::Builder::new().spawn_scoped(scope, serve);
        }
    });
}
