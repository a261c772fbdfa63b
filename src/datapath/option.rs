//! Socket options by level and name (include/uapi/asm-generic/socket.h, include/uapi/linux/tcp.h).

pub(super) const SOL_SOCKET: i32 = 1;
pub(super) const SO_OOBINLINE: i32 = 10;
pub(super) const SO_RCVLOWAT: i32 = 18;
pub(super) const SO_TIMESTAMP_OLD: i32 = 29;
pub(super) const SO_TIMESTAMPNS_OLD: i32 = 35;
pub(super) const SO_TIMESTAMPING_OLD: i32 = 37;
pub(super) const SO_PEEK_OFF: i32 = 42;
pub(super) const SO_MAX_PACING_RATE: i32 = 47;
pub(super) const SO_ZEROCOPY: i32 = 60;
pub(super) const SO_TIMESTAMP_NEW: i32 = 63;
pub(super) const SO_TIMESTAMPNS_NEW: i32 = 64;
pub(super) const SO_TIMESTAMPING_NEW: i32 = 65;
pub(super) const SOL_TCP: i32 = 6;
pub(super) const TCP_WINDOW_CLAMP: i32 = 10;
pub(super) const TCP_REPAIR: i32 = 19;
pub(super) const TCP_ULP: i32 = 31;
pub(super) const TCP_INQ: i32 = 36;
