//! Every interleaving of what two ends, the agent and the kernel do: not the programs, but their
//! protocol.
//!
//! Messages are numbers; each end writes its own in order, and its reader has to read the other's
//! in that order. A message that the program has decided to redirect waits for the receiver's lock,
//! without its own; everything else is one step under a lock. The reader is edge-triggered and
//! takes a short read for an empty queue.
//!
//! Each [`Model`] but the first leaves a protection out; the search finds what it protects from.

use std::collections::{HashSet, VecDeque};

/// How many messages each end sends.
const MESSAGES: [u8; 2] = [2, 1];
/// How much a reader asks for at once.
const AT_ONCE: usize = 2;

/// What the protocol does; and what it did in earlier versions.
#[derive(Clone, Copy, Debug, Default)]
struct Model {
    /// Segments stay in TCP's queue, and a lane is direct only when they have been read.
    two_queues: bool,
    /// A socket leaves the map when it sends its FIN, whoever is in a call on its peer.
    leaves_at_fin: bool,
    /// Whoever stops shunt takes sockets out of the map.
    forced_out: bool,
    /// A redirect to a socket that is being sent to is not waited for if the sender's lane has
    /// ended meanwhile, for whatever reason.
    trusts_modes: bool,
    /// A socket leaves while another thread is in a redirect from it.
    leaves_in_calls: bool,
    /// A message by TCP says that nothing is on its way directly, although another thread is in a
    /// redirect.
    speaks_for_others: bool,
    /// Another thread shuts a socket down while the first is inside a redirect.
    two_threads: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
enum Mode {
    #[default]
    Tcp,
    Direct,
    Ended,
    Leaving,
    Left,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
struct End {
    enrolled: bool,
    mode: Mode,
    /// The last message that this end's program saw went by TCP.
    by_tcp: bool,
    /// The message that comes next, and the one that is being redirected.
    next: u8,
    redirecting: Option<u8>,
    fin_sent: bool,
    /// Sent to this end and not arrived, in TCP's queue, in the ingress queue; `None` is a FIN.
    on_their_way: VecDeque<Option<u8>>,
    received: VecDeque<u8>,
    ingress: VecDeque<u8>,
    fin_received: bool,
    /// The next message that its reader has to see; whether epoll has an event for it; whether it
    /// reads.
    expected: u8,
    event: bool,
    reading: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
struct State {
    ends: [End; 2],
    draining: bool,
}

/// What must not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Overtaken,
    Lost,
    Failed,
    Hangs,
    Unfinished,
}

type Step = Result<(&'static str, usize, State), (&'static str, Wrong)>;

impl Model {
    /// Everything that may happen next.
    fn steps(self, state: &State) -> Vec<Step> {
        let mut steps = Vec::new();
        if !state.draining {
            let mut next = state.clone();
            next.draining = true;
            if self.forced_out {
                for end in &mut next.ends {
                    let lost = end.enrolled && !end.ingress.is_empty();
                    (end.enrolled, end.mode) = (false, Mode::Left);
                    if lost {
                        steps.push(Err(("stop", Wrong::Lost)));
                    }
                }
            }
            steps.push(Ok(("stop", 2, next)));
        }
        for own in 0..2 {
            self.of_end(state, own, &mut steps);
        }
        steps
    }

    fn of_end(self, state: &State, own: usize, steps: &mut Vec<Step>) {
        let peer = 1 - own;
        let mut step = |name, change: &dyn Fn(&mut State) -> Result<(), Wrong>| {
            let mut next = state.clone();
            steps.push(match change(&mut next) {
                Ok(()) => Ok((name, own, next)),
                Err(wrong) => Err((name, wrong)),
            });
        };
        let (end, other) = (&state.ends[own], &state.ends[peer]);

        // The agent. A candidate's unread segments come along.
        if !end.enrolled && end.mode == Mode::Tcp && !state.draining {
            step("enrol", &|next| {
                next.ends[own].enrolled = true;
                Ok(())
            });
        }

        // The sender.
        let idle = end.redirecting.is_none();
        if idle && end.next < MESSAGES[own] && !end.fin_sent {
            step("send by TCP", &|next| {
                let message = next.ends[own].next;
                next.ends[own].next += 1;
                if end.enrolled {
                    if next.ends[own].mode == Mode::Direct {
                        next.ends[own].mode = Mode::Tcp;
                    }
                    next.ends[own].by_tcp = true;
                }
                next.ends[peer].on_their_way.push_back(Some(message));
                Ok(())
            });
            let arrived = other.on_their_way.is_empty() && other.received.is_empty();
            let gates = end.mode == Mode::Direct || arrived;
            let goes_on =
                matches!(end.mode, Mode::Tcp | Mode::Direct) && other.mode < Mode::Leaving;
            if end.enrolled && other.enrolled && !state.draining && goes_on && gates {
                step("decide to redirect", &|next| {
                    let end = &mut next.ends[own];
                    (end.mode, end.by_tcp, end.redirecting) = (Mode::Direct, false, Some(end.next));
                    end.next += 1;
                    Ok(())
                });
            }
        }
        if let Some(message) = end.redirecting
            && !other.reading
        {
            step("redirect", &|next| {
                next.ends[own].redirecting = None;
                if !next.ends[peer].enrolled {
                    return Err(Wrong::Failed);
                }
                next.ends[peer].ingress.push_back(message);
                next.ends[peer].event = true;
                Ok(())
            });
        }
        if self.speaks_for_others && !idle && !end.by_tcp {
            step("another thread sends by TCP", &|next| {
                next.ends[own].by_tcp = true;
                Ok(())
            });
        }
        if (idle || self.two_threads) && end.next == MESSAGES[own] && !end.fin_sent {
            step("shut down", &|next| {
                let end = &mut next.ends[own];
                end.fin_sent = true;
                if end.mode < Mode::Ended {
                    end.mode = Mode::Ended;
                }
                if self.leaves_at_fin && end.enrolled && end.is_empty() {
                    (end.enrolled, end.mode) = (false, Mode::Left);
                }
                next.ends[peer].on_their_way.push_back(None);
                Ok(())
            });
        }

        // An option is set, or a thread falls asleep, or too many messages went by TCP.
        if end.enrolled && end.mode <= Mode::Ended && own == 0 {
            step("leave", &|next| {
                next.ends[own].mode = Mode::Leaving;
                Ok(())
            });
        }
        // It sends a segment of whatever kind: a reader that reads may do so, a redirect may be
        // under way.
        let wanted = state.draining || end.mode == Mode::Leaving || other.mode >= Mode::Leaving;
        if end.enrolled && wanted && !self.forced_out {
            step("segment", &|next| {
                let end = &mut next.ends[own];
                if self.trusts_modes && state.draining && end.mode < Mode::Leaving {
                    // It leaves without saying so first.
                } else {
                    end.mode = Mode::Leaving;
                }
                // Another thread's redirect has let go of the lock.
                let no_other_call =
                    self.trusts_modes || self.leaves_in_calls || end.redirecting.is_none();
                if end.is_empty()
                    && no_other_call
                    && self.at_rest(&next.ends[own], &next.ends[peer])
                {
                    (next.ends[own].enrolled, next.ends[own].mode) = (false, Mode::Left);
                }
                Ok(())
            });
        }

        // What was sent by TCP arrives, unless a reader has the lock.
        if !end.reading
            && let Some(&first) = end.on_their_way.front()
        {
            step("arrive", &|next| {
                let end = &mut next.ends[own];
                end.on_their_way.pop_front();
                end.event = true;
                match first {
                    Some(message) => end.received.push_back(message),
                    None => end.fin_received = true,
                }
                self.verdict(end);
                Ok(())
            });
        }

        // The reader.
        if end.event && !end.reading {
            step("wake up", &|next| {
                (next.ends[own].event, next.ends[own].reading) = (false, true);
                Ok(())
            });
        }
        if end.reading {
            step("read", &|next| self.read(&mut next.ends[own], MESSAGES[peer]));
        }
    }

    /// Segments of an enrolled socket go into the ingress queue.
    fn verdict(self, end: &mut End) {
        if end.enrolled && !self.two_queues {
            end.ingress.append(&mut end.received);
        }
    }

    /// One call: a full read is followed by another, a short one by waiting for an event.
    fn read(self, end: &mut End, all: u8) -> Result<(), Wrong> {
        self.verdict(end);
        let queue = if end.ingress.is_empty() { &mut end.received } else { &mut end.ingress };
        let taken: Vec<u8> = queue.drain(..queue.len().min(AT_ONCE)).collect();
        if taken.is_empty() && end.fin_received && end.expected < all {
            // The end of the stream comes before its last bytes.
            return Err(Wrong::Lost);
        }
        for message in &taken {
            if *message != end.expected {
                return Err(Wrong::Overtaken);
            }
            end.expected += 1;
        }
        // It lets go of the lock in any case; the next call is another step.
        end.reading = false;
        end.event |= taken.len() == AT_ONCE;
        Ok(())
    }

    /// Nothing is on its way from the peer.
    fn at_rest(self, own: &End, peer: &End) -> bool {
        if self.trusts_modes {
            // As `leave::at_rest` had it: an ended lane, or one that is not direct and will see
            // that this one leaves.
            if peer.mode >= Mode::Ended || peer.mode == Mode::Tcp && own.mode == Mode::Leaving {
                return true;
            }
        } else if peer.by_tcp || !peer.enrolled {
            // Of one that has left nothing more can be seen.
            return true;
        }
        peer.redirecting.is_none() && !peer.reading
    }

    /// What is wrong with a state in which nothing more can happen.
    fn judge(self, state: &State) -> Option<Wrong> {
        for (own, end) in state.ends.iter().enumerate() {
            if !end.is_empty() {
                return Some(Wrong::Hangs);
            }
            if end.expected < MESSAGES[1 - own] {
                return Some(Wrong::Lost);
            }
            if !end.fin_sent {
                return Some(Wrong::Unfinished);
            }
        }
        None
    }

    /// Searches every state that can be reached, breadth first. The first thing that is wrong, and
    /// how it comes to it; or how many states there are.
    fn search(self) -> Result<usize, (Wrong, Vec<String>)> {
        let mut seen = HashSet::from([State::default()]);
        let mut states: Vec<(State, usize, String)> = vec![(State::default(), 0, String::new())];
        let mut at = 0;
        let story = |states: &[(State, usize, String)], mut at: usize, last: &str| {
            let mut story = vec![last.to_owned()];
            while at > 0 {
                story.push(states[at].2.clone());
                at = states[at].1;
            }
            story.reverse();
            story
        };
        while at < states.len() {
            let state = states[at].0.clone();
            let mut progress = false;
            for step in self.steps(&state) {
                match step {
                    Ok((name, own, next)) => {
                        progress |= next != state;
                        if seen.insert(next.clone()) {
                            states.push((next, at, format!("{own}: {name}")));
                        }
                    }
                    Err((name, wrong)) => return Err((wrong, story(&states, at, name))),
                }
            }
            if !progress && let Some(wrong) = self.judge(&state) {
                return Err((wrong, story(&states, at, &format!("{state:?}"))));
            }
            at += 1;
        }
        Ok(states.len())
    }
}

impl End {
    fn is_empty(&self) -> bool {
        self.ingress.is_empty() && self.received.is_empty()
    }
}

fn found(model: Model) -> Wrong {
    let (wrong, story) = model.search().expect_err("something is wrong with it");
    println!("{model:?}: {wrong:?}\n  {}", story.join("\n  "));
    wrong
}

#[test]
fn in_every_interleaving_all_bytes_are_read_in_order_and_no_send_fails() {
    match (Model::default()).search() {
        Ok(states) => println!("{states} states"),
        Err((wrong, story)) => panic!("{wrong:?}\n  {}", story.join("\n  ")),
    }
}

/// Q2 of the design.
#[test]
fn with_two_queues_an_edge_triggered_reader_waits_for_ever_with_bytes_queued() {
    assert_eq!(found(Model { two_queues: true, ..Model::default() }), Wrong::Hangs);
}

/// Q7 of the design.
#[test]
fn a_socket_that_left_at_its_fin_would_make_its_peer_s_redirect_fail() {
    assert_eq!(found(Model { leaves_at_fin: true, ..Model::default() }), Wrong::Failed);
}

/// Q8 of the design.
#[test]
fn a_socket_that_is_taken_out_by_force_loses_bytes_or_makes_a_redirect_fail() {
    let wrong = found(Model { forced_out: true, ..Model::default() });
    assert!(matches!(wrong, Wrong::Failed | Wrong::Lost), "{wrong:?}");
}

/// The kernel lets go of the sender's lock while it waits for the receiver's: nothing that programs
/// could do about.
#[test]
fn a_thread_that_shuts_down_while_another_sends_may_send_its_fin_first() {
    assert_eq!(found(Model { two_threads: true, ..Model::default() }), Wrong::Lost);
}

/// What a segment does to a lane says nothing of a redirect that the lane's thread is inside.
#[test]
fn a_peer_whose_lane_has_ended_may_be_inside_a_redirect() {
    assert_eq!(found(Model { trusts_modes: true, ..Model::default() }), Wrong::Failed);
}

/// Whoever has left has no psock by which its calls could be seen.
#[test]
fn a_socket_that_left_while_another_thread_sends_would_make_that_redirect_fail() {
    assert_eq!(found(Model { leaves_in_calls: true, ..Model::default() }), Wrong::Failed);
}

/// One socket, two threads that send: the second says nothing of the first.
#[test]
fn a_thread_that_sends_by_tcp_does_not_know_whether_another_is_inside_a_redirect() {
    assert_eq!(found(Model { speaks_for_others: true, ..Model::default() }), Wrong::Failed);
}
