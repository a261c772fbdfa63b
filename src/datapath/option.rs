//! Socket options by level and name (include/uapi/asm-generic/socket.h, include/uapi/linux/tcp.h).

pub(super) const SOL_SOCKET: i32 = 1;
pub(super) const SO_KEEPALIVE: i32 = 9;
pub(super) const SO_RCVLOWAT: i32 = 18;
pub(super) const SOL_TCP: i32 = 6;
pub(super) const TCP_KEEPIDLE: i32 = 4;
pub(super) const TCP_KEEPINTVL: i32 = 5;
