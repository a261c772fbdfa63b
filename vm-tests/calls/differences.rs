//! The calls, the test that compares each, and what is different about some.

use tcp_shunt::probe::behaviour::{self, Answer};

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
    /// Those of which this statement of [`behaviour::ALL`] holds.
    That(&'static str),
    /// Those of which it does not.
    ThatDoNot(&'static str),
}

impl Kernels {
    /// Whether a kernel is one of them that answers to a statement what `answer` says.
    pub fn include(self, answer: impl Fn(&str) -> bool) -> bool {
        match self {
            Kernels::All => true,
            Kernels::That(statement) => answer(statement),
            Kernels::ThatDoNot(statement) => !answer(statement),
        }
    }
}

impl Call {
    /// What its script has to see over shunt on this kernel if it saw `by_tcp` over TCP.
    pub fn expected_of(&self, by_tcp: &[String]) -> Vec<String> {
        for difference in self.differences {
            let there = by_tcp.iter().any(|line| line == difference.by_tcp);
            assert!(there, "by TCP nobody sees {:?}, but {by_tcp:#?}", difference.by_tcp);
        }
        let here: Vec<_> = self.differences.iter().filter(|difference| difference.on.include(running_kernel)).collect();
        let change = |line: &String| {
            let difference = here.iter().find(|difference| line == difference.by_tcp);
            difference.map_or(line.clone(), |difference| difference.over_shunt.to_owned())
        };
        by_tcp.iter().map(change).collect()
    }
}

/// What the running kernel answers to a statement.
fn running_kernel(statement: &str) -> bool {
    let behaviour = behaviour::ALL.iter().find(|behaviour| behaviour.statement == statement);
    match behaviour.unwrap_or_else(|| panic!("no behaviour {statement:?}")).try_out() {
        Answer::Yes => true,
        Answer::No => false,
        Answer::Unknown(error) => panic!("{statement}: {error:#}"),
    }
}

/// The call that a test compares.
pub fn call(test: &str) -> &'static Call {
    CALLS.iter().find(|call| call.test == test).unwrap_or_else(|| panic!("no row in CALLS has the test {test}"))
}

const SAME: Call = Call { name: "", test: "", guard: "", differences: &[], remedy: "" };

/// Every call, in the order of the document.
pub const CALLS: &[Call] = &[
    Call {
        name: "`read_takes_what_is_there_across_messages`",
        test: "reading::read_takes_what_is_there_across_messages",
        ..SAME
    },
    Call {
        name: "`readv_fills_its_buffers_in_their_order`",
        test: "reading::readv_fills_its_buffers_in_their_order",
        ..SAME
    },
    Call {
        name: "`a_peek_leaves_the_bytes_for_the_next_read`",
        test: "reading::a_peek_leaves_the_bytes_for_the_next_read",
        ..SAME
    },
    Call {
        name: "`recv_that_may_not_wait_takes_what_is_there`",
        test: "reading::recv_that_may_not_wait_takes_what_is_there",
        ..SAME
    },
    Call {
        name: "`msg_trunc_throws_bytes_away_without_showing_them`",
        test: "reading::msg_trunc_throws_bytes_away_without_showing_them",
        ..SAME
    },
    Call { name: "`msg_trunc_needs_no_buffer`", test: "reading::msg_trunc_needs_no_buffer", ..SAME },
    Call { name: "`an_urgent_byte_is_read_out_of_band`", test: "reading::an_urgent_byte_is_read_out_of_band", ..SAME },
    Call {
        name: "`recvmsg_tells_when_bytes_came_and_how_many_are_left`",
        test: "reading::recvmsg_tells_when_bytes_came_and_how_many_are_left",
        ..SAME
    },
    Call {
        name: "`recvmmsg_fills_one_message_after_the_other`",
        test: "reading::recvmmsg_fills_one_message_after_the_other",
        ..SAME
    },
    Call {
        name: "`whichever_way_it_is_sent_it_arrives`",
        test: "sending::whichever_way_it_is_sent_it_arrives",
        ..SAME
    },
    Call {
        name: "`a_large_message_arrives_whole_and_in_order`",
        test: "sending::a_large_message_arrives_whole_and_in_order",
        ..SAME
    },
    Call {
        name: "`what_is_corked_arrives_when_the_cork_is_drawn`",
        test: "sending::what_is_corked_arrives_when_the_cork_is_drawn",
        ..SAME
    },
    Call {
        name: "`zero_copy_sending_says_when_the_buffer_may_be_used_again`",
        test: "sending::zero_copy_sending_says_when_the_buffer_may_be_used_again",
        ..SAME
    },
    Call { name: "`splice_moves_bytes_out_of_a_socket`", test: "splicing::splice_moves_bytes_out_of_a_socket", ..SAME },
    Call { name: "`splice_moves_bytes_into_a_socket`", test: "splicing::splice_moves_bytes_into_a_socket", ..SAME },
    Call { name: "`sendfile_sends_a_file`", test: "splicing::sendfile_sends_a_file", ..SAME },
    Call {
        name: "`sendfile_from_a_socket_is_answered_alike`",
        test: "splicing::sendfile_from_a_socket_is_answered_alike",
        ..SAME
    },
    Call {
        name: "`tee_copies_what_is_on_its_way_into_a_socket`",
        test: "splicing::tee_copies_what_is_on_its_way_into_a_socket",
        ..SAME
    },
    Call {
        name: "`tee_copies_what_came_out_of_a_socket`",
        test: "splicing::tee_copies_what_came_out_of_a_socket",
        ..SAME
    },
    Call { name: "`poll_tells_what_can_be_done`", test: "waiting::poll_tells_what_can_be_done", ..SAME },
    Call {
        name: "`poll_finds_room_when_the_reader_has_made_some`",
        test: "waiting::poll_finds_room_when_the_reader_has_made_some",
        ..SAME
    },
    Call { name: "`select_tells_what_can_be_done`", test: "waiting::select_tells_what_can_be_done", ..SAME },
    Call {
        name: "`level_triggered_epoll_reports_as_long_as_something_is_there`",
        test: "waiting::level_triggered_epoll_reports_as_long_as_something_is_there",
        ..SAME
    },
    Call {
        name: "`edge_triggered_epoll_reports_what_is_new`",
        test: "waiting::edge_triggered_epoll_reports_what_is_new",
        ..SAME
    },
    Call { name: "`one_shot_epoll_reports_once`", test: "waiting::one_shot_epoll_reports_once", ..SAME },
    Call {
        name: "`a_half_close_is_seen_as_epollrdhup_before_what_was_sent_is_read`",
        test: "waiting::a_half_close_is_seen_as_epollrdhup_before_what_was_sent_is_read",
        ..SAME
    },
    Call {
        name: "`nobody_is_woken_below_the_low_water_mark`",
        test: "waiting::nobody_is_woken_below_the_low_water_mark",
        ..SAME
    },
    Call {
        name: "`either_end_can_go_on_sending_when_the_other_has_shut_down`",
        test: "closing::either_end_can_go_on_sending_when_the_other_has_shut_down",
        ..SAME
    },
    Call {
        name: "`who_shuts_down_reading_reads_what_is_there_and_then_the_end`",
        test: "closing::who_shuts_down_reading_reads_what_is_there_and_then_the_end",
        ..SAME
    },
    Call {
        name: "`a_close_sends_what_was_written_and_then_the_end`",
        test: "closing::a_close_sends_what_was_written_and_then_the_end",
        ..SAME
    },
    Call { name: "`a_close_with_unread_bytes_resets`", test: "closing::a_close_with_unread_bytes_resets", ..SAME },
    Call {
        name: "`a_close_that_does_not_linger_resets_at_once`",
        test: "closing::a_close_that_does_not_linger_resets_at_once",
        ..SAME
    },
    Call {
        name: "`a_close_lingers_until_everything_has_arrived_or_for_its_time`",
        test: "closing::a_close_lingers_until_everything_has_arrived_or_for_its_time",
        ..SAME
    },
];
