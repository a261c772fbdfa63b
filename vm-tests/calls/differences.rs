//! The calls, the test that compares each, and what is different about some.

use tcp_shunt::probe::Behaviour;
use tcp_shunt::probe::behaviour::Answer;

use crate::seen::LACKING;

/// A socket call or a use of one.
pub struct Call {
    /// What people call it, in Markdown.
    pub name: &'static str,
    /// The test that compares it.
    pub test: &'static str,
    /// What keeps it the same where redirected bytes would be different; empty when nothing has to.
    pub guard: &'static str,
    /// What is different.
    pub differences: &'static [Difference],
    /// What the difference means and what to do about it.
    pub remedy: &'static str,
}

/// An observation that shunt changes.
pub struct Difference {
    pub by_tcp: &'static str,
    pub over_shunt: &'static str,
    /// Where.
    pub on: Kernels,
}

/// The kernels that something is true of.
#[derive(Debug, Clone, Copy)]
pub enum Kernels {
    All,
    /// Those of which this does not hold.
    ThatDoNot(Behaviour),
}

impl Kernels {
    /// Whether a kernel is one of them of which holds what `answer` says.
    pub fn include(self, answer: impl Fn(Behaviour) -> bool) -> bool {
        match self {
            Kernels::All => true,
            Kernels::ThatDoNot(behaviour) => !answer(behaviour),
        }
    }
}

impl Call {
    /// How it stands on a kernel of which holds what `answer` says.
    pub fn standing(&self, answer: impl Fn(Behaviour) -> bool) -> &'static str {
        if self.differences.iter().any(|difference| difference.on.include(&answer)) {
            "different"
        } else if self.guard.is_empty() {
            "same"
        } else {
            "guarded"
        }
    }

    /// What its script has to see over shunt on this kernel if it saw `by_tcp` over TCP.
    pub fn expected_of(&self, by_tcp: &[String]) -> Vec<String> {
        let lacking = by_tcp.iter().any(|line| line.starts_with(LACKING));
        for difference in self.differences {
            let there = by_tcp.iter().any(|line| line == difference.by_tcp);
            assert!(
                there || lacking,
                "by TCP nobody sees {:?}, but {by_tcp:#?}",
                difference.by_tcp
            );
        }
        let here: Vec<_> = self
            .differences
            .iter()
            .filter(|difference| difference.on.include(running_kernel))
            .collect();
        let change = |line: &String| {
            let difference = here.iter().find(|difference| line == difference.by_tcp);
            difference.map_or(line.clone(), |difference| difference.over_shunt.to_owned())
        };
        by_tcp.iter().map(change).collect()
    }
}

/// Whether the running kernel has a behaviour.
fn running_kernel(behaviour: Behaviour) -> bool {
    match behaviour.try_out() {
        Answer::Yes => true,
        Answer::No(_) => false,
        Answer::Unknown(error) => panic!("{behaviour}: {error:#}"),
    }
}

/// The call that a test compares.
pub fn call(test: &str) -> &'static Call {
    CALLS
        .iter()
        .find(|call| call.test == test)
        .unwrap_or_else(|| panic!("no row in CALLS has the test {test}"))
}

const fn same(name: &'static str, test: &'static str) -> Call {
    Call { name, test, guard: "", differences: &[], remedy: "" }
}

const fn guarded(name: &'static str, test: &'static str, guard: &'static str) -> Call {
    Call { guard, ..same(name, test) }
}

const fn different(
    name: &'static str,
    test: &'static str,
    differences: &'static [Difference],
    remedy: &'static str,
) -> Call {
    Call { differences, remedy, ..same(name, test) }
}

const fn difference(by_tcp: &'static str, over_shunt: &'static str, on: Kernels) -> Difference {
    Difference { by_tcp, over_shunt, on }
}

const BLOCKING_LEFT: &str = "sockets that block are left to TCP";

const OPTION_LEFT: &str = "whose option is set is left to TCP: from the next segment that it sends";

/// Every call, in the order of the document.
pub const CALLS: &[Call] = &[
    same("`read`", "reading::read_takes_what_is_there_across_messages"),
    same("`readv`", "reading::readv_fills_its_buffers_in_their_order"),
    same("`recv` with MSG_PEEK", "reading::a_peek_leaves_the_bytes_for_the_next_read"),
    same(
        "`recv` with MSG_DONTWAIT; with MSG_WAITALL on a non-blocking socket",
        "reading::recv_that_may_not_wait_takes_what_is_there",
    ),
    different(
        "`recv` with MSG_TRUNC and a buffer",
        "reading::msg_trunc_throws_bytes_away_without_showing_them",
        &[difference(
            r#"the buffer after it: ".....""#,
            r#"the buffer after it: "hello""#,
            Kernels::All,
        )],
        "the bytes are thrown away as by TCP; the buffer is written to",
    ),
    different(
        "`recv` with MSG_TRUNC and no buffer",
        "reading::msg_trunc_needs_no_buffer",
        &[
            difference(
                "recv 5 MSG_TRUNC without a buffer: 5",
                "recv 5 MSG_TRUNC without a buffer: EFAULT",
                Kernels::All,
            ),
            difference(
                r#"recv 100 MsgFlags(0x0): " world""#,
                r#"recv 100 MsgFlags(0x0): "hello world""#,
                Kernels::All,
            ),
        ],
        "`EFAULT`: pass a buffer, or keep the program out",
    ),
    different(
        "`send` and `recv` with MSG_OOB, `SIOCATMARK`, POLLPRI",
        "reading::an_urgent_byte_is_read_out_of_band",
        &[
            difference(
                "poll: PollFlags(IN | PRI | OUT)",
                "poll: PollFlags(IN | OUT)",
                Kernels::All,
            ),
            difference(
                "recv MSG_OOB when there was none: EINVAL",
                "recv MSG_OOB when there was none: EAGAIN",
                Kernels::All,
            ),
            difference(
                r#"read up to the mark: "abc""#,
                r#"read up to the mark: "abc!de""#,
                Kernels::All,
            ),
            difference("SIOCATMARK at the mark: 1", "SIOCATMARK at the mark: 0", Kernels::All),
            difference(
                r#"recv MSG_OOB at the mark: "!""#,
                "recv MSG_OOB at the mark: EAGAIN",
                Kernels::All,
            ),
            difference(
                r#"read behind the mark: "de""#,
                "read behind the mark: EAGAIN",
                Kernels::All,
            ),
        ],
        "the urgent byte is in its place in the stream, and nothing marks it: keep the program out",
    ),
    guarded("… with SO_OOBINLINE", "reading::an_urgent_byte_in_line_is_marked", OPTION_LEFT),
    guarded(
        "`recvmsg` with SO_TIMESTAMPNS and TCP_INQ",
        "reading::recvmsg_tells_when_bytes_came_and_how_many_are_left",
        OPTION_LEFT,
    ),
    same("`recvmmsg`", "reading::recvmmsg_fills_one_message_after_the_other"),
    same(
        "`write`, `writev`, `send`, `sendmsg`, `sendmmsg`",
        "sending::whichever_way_it_is_sent_it_arrives",
    ),
    same("messages longer than a segment", "sending::a_large_message_arrives_whole_and_in_order"),
    different(
        "`send` with MSG_MORE, TCP_CORK",
        "sending::what_is_corked_arrives_when_the_cork_is_drawn",
        &[
            difference(
                "poll while more is to come: PollFlags(OUT)",
                "poll while more is to come: PollFlags(IN | OUT)",
                Kernels::All,
            ),
            difference(
                "poll while corked: PollFlags(OUT)",
                "poll while corked: PollFlags(IN | OUT)",
                Kernels::All,
            ),
        ],
        "bytes arrive at once instead of together with what follows; the stream is the same",
    ),
    guarded(
        "`send` with MSG_ZEROCOPY",
        "sending::zero_copy_sending_says_when_the_buffer_may_be_used_again",
        OPTION_LEFT,
    ),
    different(
        "`splice` from a socket",
        "splicing::splice_moves_bytes_out_of_a_socket",
        &[
            difference("splice 5: 5", "splice 5: EAGAIN", Kernels::ThatDoNot(Behaviour::Splice)),
            difference(
                r#"from the pipe: "hello""#,
                "from the pipe: EAGAIN",
                Kernels::ThatDoNot(Behaviour::Splice),
            ),
            difference(
                "splice 100: 6",
                "splice 100: EAGAIN",
                Kernels::ThatDoNot(Behaviour::Splice),
            ),
            difference(
                r#"from the pipe: " world""#,
                "from the pipe: EAGAIN",
                Kernels::ThatDoNot(Behaviour::Splice),
            ),
            difference(
                "read: EAGAIN",
                r#"read: "hello world""#,
                Kernels::ThatDoNot(Behaviour::Splice),
            ),
        ],
        "it sees nothing, and `read` does: keep the program out",
    ),
    same("`splice` into a socket", "splicing::splice_moves_bytes_into_a_socket"),
    same("`sendfile` into a socket", "splicing::sendfile_sends_a_file"),
    same(
        "`sendfile` from a socket, which Linux refuses",
        "splicing::sendfile_from_a_socket_is_answered_alike",
    ),
    same(
        "`tee` between pipes on the way into a socket",
        "splicing::tee_copies_what_is_on_its_way_into_a_socket",
    ),
    different(
        "`tee` of what `splice` moved from a socket",
        "splicing::tee_copies_what_came_out_of_a_socket",
        &[
            difference("splice: 5", "splice: EAGAIN", Kernels::ThatDoNot(Behaviour::Splice)),
            difference("tee: 5", "tee: EAGAIN", Kernels::ThatDoNot(Behaviour::Splice)),
            difference(
                r#"from the pipe: "hello""#,
                "from the pipe: EAGAIN",
                Kernels::ThatDoNot(Behaviour::Splice),
            ),
            difference("read: EAGAIN", r#"read: "hello""#, Kernels::ThatDoNot(Behaviour::Splice)),
        ],
        "as `splice` from a socket",
    ),
    same("`poll`", "waiting::poll_tells_what_can_be_done"),
    same("`poll` for room to write", "waiting::poll_finds_room_when_the_reader_has_made_some"),
    same("`select`", "waiting::select_tells_what_can_be_done"),
    same(
        "`epoll_wait`, level-triggered",
        "waiting::level_triggered_epoll_reports_as_long_as_something_is_there",
    ),
    same("`epoll_wait`, edge-triggered", "waiting::edge_triggered_epoll_reports_what_is_new"),
    same("`epoll_wait` with EPOLLONESHOT", "waiting::one_shot_epoll_reports_once"),
    same(
        "EPOLLRDHUP, POLLRDHUP",
        "waiting::a_half_close_is_seen_as_epollrdhup_before_what_was_sent_is_read",
    ),
    guarded(
        "SO_RCVLOWAT above 1 on a non-blocking socket",
        "waiting::nobody_is_woken_below_the_low_water_mark",
        OPTION_LEFT,
    ),
    same(
        "`shutdown` of writing, at either end",
        "closing::either_end_can_go_on_sending_when_the_other_has_shut_down",
    ),
    same(
        "`shutdown` of reading",
        "closing::who_shuts_down_reading_reads_what_is_there_and_then_the_end",
    ),
    same("`close`", "closing::a_close_sends_what_was_written_and_then_the_end"),
    different(
        "`close` with redirected bytes unread",
        "closing::a_close_with_unread_bytes_resets",
        &[
            difference(
                "poll: PollFlags(IN | OUT | ERR | HUP | RDHUP)",
                "poll: PollFlags(IN | OUT | RDHUP)",
                Kernels::All,
            ),
            difference("SO_ERROR: Some(ECONNRESET)", "SO_ERROR: None", Kernels::All),
        ],
        "the peer sees an orderly end instead of a reset, until it writes",
    ),
    same("`close` with SO_LINGER of 0", "closing::a_close_that_does_not_linger_resets_at_once"),
    same(
        "`close` with SO_LINGER above 0",
        "closing::a_close_lingers_until_everything_has_arrived_or_for_its_time",
    ),
    same("io_uring: `recv`, `read`", "io_uring::a_recv_completes_with_what_is_there"),
    same(
        "io_uring: `recv` before bytes come, `poll`",
        "io_uring::a_recv_that_was_submitted_before_completes_when_bytes_come",
    ),
    same(
        "io_uring: multishot `recv` with provided buffers",
        "io_uring::a_multishot_recv_completes_again_and_again",
    ),
    guarded(
        "io_uring: multishot `recv` on a blocking socket",
        "io_uring::a_multishot_recv_from_a_blocking_socket_completes_again_and_again",
        BLOCKING_LEFT,
    ),
    same("io_uring: `send`, `write`", "io_uring::a_send_arrives"),
    different(
        "io_uring: zero-copy `send`",
        "io_uring::a_zero_copy_send_completes_and_then_gives_its_buffer_back",
        &[
            difference("the client's send: 5", "the client's send: EOPNOTSUPP", Kernels::All),
            difference(
                r#"arrived of the client: "hello""#,
                "arrived of the client: EAGAIN",
                Kernels::All,
            ),
            difference("the server's send: 5", "the server's send: EOPNOTSUPP", Kernels::All),
            difference(
                r#"arrived of the server: "hello""#,
                "arrived of the server: EAGAIN",
                Kernels::All,
            ),
        ],
        "refused with `EOPNOTSUPP`, as for TLS sockets: send without it, or keep the program out",
    ),
    different(
        "FIONREAD, SIOCINQ",
        "options::fionread_counts_what_is_unread",
        &[
            difference(
                "FIONREAD of a message: 6",
                "FIONREAD of a message: 0",
                Kernels::ThatDoNot(Behaviour::FionreadDirect),
            ),
            difference(
                "FIONREAD of two messages: 11",
                "FIONREAD of two messages: 0",
                Kernels::ThatDoNot(Behaviour::FionreadDirect),
            ),
            difference(
                "FIONREAD of the rest: 7",
                "FIONREAD of the rest: 0",
                Kernels::ThatDoNot(Behaviour::FionreadDirect),
            ),
        ],
        "0 for redirected bytes: read until `EAGAIN`, or keep the program out",
    ),
    different(
        "FIONREAD, SIOCINQ of redirected bytes and others behind them",
        "options::fionread_counts_what_came_either_way",
        &[
            difference(
                "FIONREAD counts all that has arrived: true",
                "FIONREAD counts all that has arrived: false",
                Kernels::ThatDoNot(Behaviour::FionreadDirect),
            ),
            difference(
                "FIONREAD counts all that has arrived: true",
                "FIONREAD counts all that has arrived: false",
                Kernels::ThatDoNot(Behaviour::FionreadByTcp),
            ),
        ],
        "either kind is left out: read until `EAGAIN`, or keep the program out",
    ),
    same("SIOCOUTQ, SIOCOUTQNSD", "options::siocoutq_counts_what_the_peer_has_not_got"),
    same(
        "`setsockopt` and `getsockopt` of keepalive, TCP_USER_TIMEOUT, TCP_NODELAY, buffers and others",
        "options::options_are_what_they_were_set_to",
    ),
    same(
        "`getsockopt` of SO_RCVBUF on a new connection",
        "options::a_new_receive_buffer_has_its_default_size",
    ),
    same("keepalive probes", "options::keepalive_probes_do_not_disturb_a_connection"),
    same(
        "TCP_USER_TIMEOUT of a peer that does not read",
        "options::a_user_timeout_gives_up_on_a_peer_that_does_not_read",
    ),
    different(
        "TCP_INFO, packet captures",
        "options::tcp_info_counts_what_was_sent",
        &[
            difference("tcpi_bytes_sent grew by: 5", "tcpi_bytes_sent grew by: 0", Kernels::All),
            difference(
                "tcpi_bytes_received grew by: 5",
                "tcpi_bytes_received grew by: 0",
                Kernels::All,
            ),
        ],
        "they count what went by TCP; `shunt flows` has the rest",
    ),
    guarded("blocking `recv`", "blocking::a_reader_that_sleeps_is_woken_by_bytes", BLOCKING_LEFT),
    guarded(
        "blocking `recv` with MSG_WAITALL",
        "blocking::msg_waitall_waits_for_all",
        BLOCKING_LEFT,
    ),
    guarded(
        "a signal during a blocking `recv`, with and without SA_RESTART",
        "blocking::a_signal_ends_a_recv_unless_it_is_to_be_restarted",
        BLOCKING_LEFT,
    ),
    guarded("SO_RCVTIMEO", "blocking::a_receive_timeout_ends_a_recv", BLOCKING_LEFT),
    guarded("SO_SNDTIMEO", "blocking::a_send_timeout_ends_a_write", BLOCKING_LEFT),
    guarded(
        "SO_RCVLOWAT above 1 on a blocking socket",
        "blocking::a_reader_sleeps_below_its_low_water_mark",
        BLOCKING_LEFT,
    ),
    guarded(
        "a thread blocked in `recv` and one in `send`",
        "blocking::one_thread_sleeps_in_send_while_another_sleeps_in_recv",
        BLOCKING_LEFT,
    ),
    guarded(
        "the peer's `shutdown` during a blocking `recv`",
        "blocking::a_reader_that_sleeps_is_told_of_the_end",
        BLOCKING_LEFT,
    ),
    guarded(
        "another thread's `shutdown` during a blocking `recv`",
        "blocking::a_reader_sleeps_on_when_another_thread_shuts_writing_down",
        BLOCKING_LEFT,
    ),
    same(
        "`fcntl` of O_NONBLOCK on a connection in use",
        "descriptors::blocking_can_be_switched_on_and_off",
    ),
    same(
        "descriptors passed by SCM_RIGHTS",
        "descriptors::a_descriptor_that_is_passed_on_reads_and_writes_there",
    ),
    same("`dup`, both read", "descriptors::two_descriptors_read_one_stream"),
    same("`fork`, both processes read", "descriptors::two_processes_read_one_stream"),
    same(
        "`accept` in another process",
        "descriptors::a_connection_that_another_process_accepts_is_like_any_other",
    ),
    same("SO_REUSEPORT", "descriptors::two_listeners_share_a_port"),
    different(
        "kTLS (TCP_ULP)",
        "protocols::the_kernel_encrypts_what_is_sent_and_decrypts_what_is_read",
        &[difference(
            "kTLS is turned on: [true, true]",
            "kTLS is turned on: [false, false]",
            Kernels::All,
        )],
        "refused, as by a kernel that does not have it: programs go on with their own encryption",
    ),
    guarded("MPTCP", "protocols::multipath_connections_are_left_alone", "left to TCP"),
    guarded(
        "MPTCP at the client alone",
        "protocols::a_multipath_client_of_an_ordinary_server_talks_tcp",
        "left to TCP",
    ),
    guarded(
        "MPTCP at the server alone",
        "protocols::an_ordinary_client_of_a_multipath_server_talks_tcp",
        "left to TCP",
    ),
];
