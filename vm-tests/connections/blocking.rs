//! Sockets whose file blocks stay with TCP, whose readers sleep.

use std::io::Read;
use std::thread;

use testkit::eventually;
use testkit::isolation::isolated;
use testkit::node::{Node, Pair};
use testkit::path::{LOOPBACK, REDIRECT, VETH};
use testkit::pattern::Pattern;
use testkit::thread_state::Thread;
use testkit::traffic::{
    both_ways, by_tcp, direct, exchange, receive, send, small_talk, until_direct, write_fully,
};

fn blocking(pair: &Pair, blocks: bool) {
    for end in [&pair.client, &pair.server] {
        end.set_nonblocking(!blocks).expect("make it blocking or not");
    }
}

#[test]
fn a_connection_whose_ends_block_is_left_alone_for_good_and_its_memory_given_back() {
    isolated(|| {
        let node = Node::start();
        for path in [LOOPBACK, VETH, REDIRECT] {
            let before = node.stats();
            let pair = node.pair(path);
            blocking(&pair, true);
            for round in 0..200 {
                exchange(&pair, round, 1000, 1000);
            }
            both_ways(&pair, 90, 1 << 20, 50_000);
            let after = node.stats();
            assert_eq!(
                after.counter("blocking_file") - before.counter("blocking_file"),
                2,
                "{path}: {after:?}"
            );
            assert_eq!(
                after.counter("candidates"),
                before.counter("candidates"),
                "{path}: {after:?}"
            );
            // Too late.
            blocking(&pair, false);
            for round in 0..200 {
                exchange(&pair, round, 1000, 1000);
            }
            assert!(node.flow_of(&pair.client).is_none(), "{path}");
        }
    });
}

#[test]
fn a_connection_whose_ends_block_at_first_becomes_direct_once_they_do_not() {
    isolated(|| {
        let node = Node::start();
        for path in [LOOPBACK, VETH, REDIRECT] {
            let pair = node.pair(path);
            blocking(&pair, true);
            for round in 0..5 {
                exchange(&pair, round, 10, 10);
            }
            assert!(node.flow_of(&pair.client).is_none(), "{path}");
            blocking(&pair, false);
            direct(&node, &pair);
        }
    });
}

#[test]
fn a_connection_with_one_end_that_blocks_stays_with_tcp() {
    isolated(|| {
        let node = Node::start();
        for server_blocks in [false, true] {
            let pair = node.pair(VETH);
            let end = if server_blocks { &pair.server } else { &pair.client };
            end.set_nonblocking(false).expect("make it blocking");
            for round in 0..200 {
                exchange(&pair, round, 1000, 1000);
            }
            assert!(node.flow_of(&pair.client).is_none());
        }
        assert_eq!(node.stats().counter("paired"), 0);
    });
}

#[test]
fn nothing_is_redirected_to_a_reader_that_is_made_blocking_later_and_it_sleeps_as_by_tcp() {
    isolated(|| {
        let node = Node::start();
        let there = Pattern { seed: 91 };
        for path in [LOOPBACK, VETH] {
            let pair = node.pair(path);
            direct(&node, &pair);
            blocking(&pair, true);
            // Credit that was given before lasts for a while; what it covers is delivered all the
            // same.
            let mut round = 0;
            eventually("messages go by TCP", || {
                let before = by_tcp(&pair);
                exchange(&pair, round, 1000, 1000);
                round += 1;
                (by_tcp(&pair) >= before + 2000).then_some(())
            });
            let before = by_tcp(&pair);
            // Each message finds its reader asleep.
            thread::scope(|scope| {
                let (tell, told) = std::sync::mpsc::channel();
                let server = &pair.server;
                scope.spawn(move || {
                    tell.send(Thread::current()).expect("tell the thread");
                    let mut at = 0;
                    while at < 5000 {
                        let mut buffer = [0; 1000];
                        let read = (&*server).read(&mut buffer).expect("a blocking read");
                        assert_ne!(read, 0, "the stream ended");
                        there.check(at, &buffer[..read]);
                        at += read as u64;
                    }
                });
                let reader = told.recv().expect("the reader's thread");
                for at in (0..5000).step_by(1000) {
                    reader.wait_until_blocked_in(libc::SYS_recvfrom);
                    write_fully(&pair.client, &there.bytes(at, 1000)).expect("write");
                }
            });
            assert_eq!(by_tcp(&pair), before + 5000, "{path}");
            both_ways(&pair, 92, 1 << 20, 50_000);
            small_talk(&pair);
        }
    });
}

#[test]
fn an_end_that_is_made_blocking_and_closes_before_all_is_read_leaves_nothing() {
    isolated(|| {
        let node = Node::start();
        for _ in 0..10 {
            let pair = node.pair(LOOPBACK);
            until_direct(&node.agent, std::slice::from_ref(&pair));
            blocking(&pair, true);
            send(&pair.client, Pattern { seed: 93 }, 0..20_000, 5000);
            receive(&pair.server, Pattern { seed: 93 }, 0..5000, 5000);
        }
        node.nothing_is_enrolled();
    });
}
