//! Bugs of the kernel that a socket map exposes a node to.
