//! Destination NAT as in service meshes and cluster services: an nf_tables `nat` table
//! (include/uapi/linux/netfilter/nf_tables.h), written by nfnetlink in one transaction per rule.

use std::net::{IpAddr, SocketAddr};

use nix::sys::socket::SockProtocol;

use crate::host::netlink::{Attributes, Request, Socket};
use crate::host::{Error, Namespace};

const TABLE: &str = "shunt-bed";

/// The hook at which a rule sees the first packet of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// Locally opened connections.
    Output,
    /// Connections from elsewhere.
    Prerouting,
}

impl Hook {
    fn chain(self) -> &'static str {
        match self {
            Hook::Output => "output",
            Hook::Prerouting => "prerouting",
        }
    }

    fn number(self) -> i32 {
        match self {
            Hook::Output => libc::NF_INET_LOCAL_OUT,
            Hook::Prerouting => libc::NF_INET_PRE_ROUTING,
        }
    }
}

/// The NAT table of a namespace, for IPv4 and IPv6. Rules stay as long as the namespace.
#[derive(Debug)]
pub struct Nat {
    socket: Socket,
}

impl Nat {
    /// Creates the table and its chains, without rules. Once per namespace.
    pub fn new(namespace: &Namespace) -> Result<Self, Error> {
        let mut nat =
            Self { socket: namespace.run(|| Socket::open(SockProtocol::NetlinkNetFilter))?? };
        let table = Attributes::new().string(table::NAME, TABLE);
        let mut requests =
            vec![request(libc::NFT_MSG_NEWTABLE, libc::NLM_F_CREATE | libc::NLM_F_EXCL, table)];
        for hook in [Hook::Output, Hook::Prerouting] {
            let place = Attributes::new()
                .with(chain::HOOK_NUMBER, &hook.number().to_be_bytes())
                .with(chain::HOOK_PRIORITY, &libc::NF_IP_PRI_NAT_DST.to_be_bytes());
            let chain = Attributes::new()
                .string(chain::TABLE, TABLE)
                .string(chain::NAME, hook.chain())
                .nest(chain::HOOK, place)
                .string(chain::TYPE, "nat");
            requests.push(request(libc::NFT_MSG_NEWCHAIN, libc::NLM_F_CREATE, chain));
        }
        nat.commit("create a NAT table", requests)?;
        Ok(nat)
    }

    /// Redirects TCP connections to `port` at any address to the local port `to` (REDIRECT), like
    /// the rules of a sidecar, except those of sockets with the mark `unless` (`SO_MARK`): the
    /// proxy's own.
    pub fn redirect(
        &mut self,
        hook: Hook,
        port: u16,
        to: u16,
        unless: Option<u32>,
    ) -> Result<(), Error> {
        let mut rule = Rule::default();
        if let Some(mark) = unless {
            rule =
                rule.load_meta(libc::NFT_META_MARK).compare(libc::NFT_CMP_NEQ, &mark.to_ne_bytes());
        }
        let rule = rule.tcp_port(port).immediate(libc::NFT_REG_1, &to.to_be_bytes()).expression(
            "redir",
            Attributes::new().with(redir::PORT, &libc::NFT_REG_1.to_be_bytes()),
        );
        self.append(&format!("redirect TCP port {port} to {to}"), hook, rule)
    }

    /// Translates TCP connections to the address and port `from` to `to` (DNAT), like a cluster
    /// service. Both are of one family.
    pub fn dnat(&mut self, hook: Hook, from: SocketAddr, to: SocketAddr) -> Result<(), Error> {
        let family = match to.ip() {
            IpAddr::V4(_) => libc::NFPROTO_IPV4,
            IpAddr::V6(_) => libc::NFPROTO_IPV6,
        };
        let nat = Attributes::new()
            .with(nat::TYPE, &libc::NFT_NAT_DNAT.to_be_bytes())
            .with(nat::FAMILY, &family.to_be_bytes())
            .with(nat::ADDRESS, &libc::NFT_REG_1.to_be_bytes())
            .with(nat::PORT, &libc::NFT_REG_2.to_be_bytes());
        let rule = Rule::default().destination(from.ip()).tcp_port(from.port());
        let rule = match to.ip() {
            IpAddr::V4(address) => rule.immediate(libc::NFT_REG_1, &address.octets()),
            IpAddr::V6(address) => rule.immediate(libc::NFT_REG_1, &address.octets()),
        };
        let rule = rule.immediate(libc::NFT_REG_2, &to.port().to_be_bytes()).expression("nat", nat);
        self.append(&format!("translate the destination {from} to {to}"), hook, rule)
    }

    fn append(&mut self, action: &str, hook: Hook, rule: Rule) -> Result<(), Error> {
        let attributes = Attributes::new()
            .string(rule::TABLE, TABLE)
            .string(rule::CHAIN, hook.chain())
            .nest(rule::EXPRESSIONS, rule.expressions);
        let new =
            request(libc::NFT_MSG_NEWRULE, libc::NLM_F_CREATE | libc::NLM_F_APPEND, attributes);
        self.commit(action, vec![new])
    }

    fn commit(&mut self, action: &str, requests: Vec<Request>) -> Result<(), Error> {
        let mark = |kind: i32| Request {
            kind: kind as u16,
            flags: 0,
            header: nfgenmsg(libc::AF_UNSPEC, libc::NFNL_SUBSYS_NFTABLES as u16),
            attributes: Attributes::new(),
        };
        let mut batch = vec![mark(libc::NFNL_MSG_BATCH_BEGIN)];
        batch.extend(requests);
        batch.push(mark(libc::NFNL_MSG_BATCH_END));
        self.socket.send(action, &batch)
    }
}

fn request(message: i32, flags: i32, attributes: Attributes) -> Request {
    Request {
        kind: (libc::NFNL_SUBSYS_NFTABLES << 8 | message) as u16,
        flags: flags | libc::NLM_F_ACK,
        header: nfgenmsg(libc::NFPROTO_INET, 0),
        attributes,
    }
}

/// `struct nfgenmsg`: family, version 0, resource in network order.
fn nfgenmsg(family: i32, resource: u16) -> Vec<u8> {
    let [high, low] = resource.to_be_bytes();
    vec![family as u8, 0, high, low]
}

/// The expressions of a rule: each loads a register, compares it and stops on a mismatch, or acts.
#[derive(Default)]
struct Rule {
    expressions: Attributes,
}

impl Rule {
    fn expression(self, name: &str, data: Attributes) -> Self {
        let element = Attributes::new().string(expression::NAME, name).nest(expression::DATA, data);
        Self { expressions: self.expressions.nest(rule::EXPRESSION, element) }
    }

    fn load_meta(self, key: i32) -> Self {
        let data = Attributes::new()
            .with(meta::REGISTER, &libc::NFT_REG_1.to_be_bytes())
            .with(meta::KEY, &key.to_be_bytes());
        self.expression("meta", data)
    }

    fn load_payload(self, base: i32, offset: u32, length: u32) -> Self {
        let data = Attributes::new()
            .with(payload::REGISTER, &libc::NFT_REG_1.to_be_bytes())
            .with(payload::BASE, &base.to_be_bytes())
            .with(payload::OFFSET, &offset.to_be_bytes())
            .with(payload::LENGTH, &length.to_be_bytes());
        self.expression("payload", data)
    }

    fn compare(self, operator: i32, value: &[u8]) -> Self {
        let data = Attributes::new()
            .with(compare::REGISTER, &libc::NFT_REG_1.to_be_bytes())
            .with(compare::OPERATOR, &operator.to_be_bytes())
            .nest(compare::DATA, Attributes::new().with(DATA_VALUE, value));
        self.expression("cmp", data)
    }

    fn equals(self, value: &[u8]) -> Self {
        self.compare(libc::NFT_CMP_EQ, value)
    }

    fn immediate(self, register: i32, value: &[u8]) -> Self {
        let data = Attributes::new()
            .with(immediate::REGISTER, &register.to_be_bytes())
            .nest(immediate::DATA, Attributes::new().with(DATA_VALUE, value));
        self.expression("immediate", data)
    }

    fn tcp_port(self, port: u16) -> Self {
        self.load_meta(libc::NFT_META_L4PROTO)
            .equals(&[libc::IPPROTO_TCP as u8])
            .load_payload(libc::NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2)
            .equals(&port.to_be_bytes())
    }

    fn destination(self, address: IpAddr) -> Self {
        let family = |rule: Self, family: i32| {
            rule.load_meta(libc::NFT_META_NFPROTO).equals(&[family as u8])
        };
        match address {
            IpAddr::V4(address) => family(self, libc::NFPROTO_IPV4)
                .load_payload(libc::NFT_PAYLOAD_NETWORK_HEADER, 16, 4)
                .equals(&address.octets()),
            IpAddr::V6(address) => family(self, libc::NFPROTO_IPV6)
                .load_payload(libc::NFT_PAYLOAD_NETWORK_HEADER, 24, 16)
                .equals(&address.octets()),
        }
    }
}

// Attribute numbers, by the kernel enum that defines them.

/// `NFTA_TABLE_*`
mod table {
    pub const NAME: u16 = 1;
}

/// `NFTA_CHAIN_*` and `NFTA_HOOK_*`
mod chain {
    pub const TABLE: u16 = 1;
    pub const NAME: u16 = 3;
    pub const HOOK: u16 = 4;
    pub const TYPE: u16 = 7;
    pub const HOOK_NUMBER: u16 = 1;
    pub const HOOK_PRIORITY: u16 = 2;
}

/// `NFTA_RULE_*` and `NFTA_LIST_ELEM`
mod rule {
    pub const TABLE: u16 = 1;
    pub const CHAIN: u16 = 2;
    pub const EXPRESSIONS: u16 = 4;
    pub const EXPRESSION: u16 = 1;
}

/// `NFTA_EXPR_*`
mod expression {
    pub const NAME: u16 = 1;
    pub const DATA: u16 = 2;
}

/// `NFTA_META_*`
mod meta {
    pub const REGISTER: u16 = 1;
    pub const KEY: u16 = 2;
}

/// `NFTA_PAYLOAD_*`
mod payload {
    pub const REGISTER: u16 = 1;
    pub const BASE: u16 = 2;
    pub const OFFSET: u16 = 3;
    pub const LENGTH: u16 = 4;
}

/// `NFTA_CMP_*`
mod compare {
    pub const REGISTER: u16 = 1;
    pub const OPERATOR: u16 = 2;
    pub const DATA: u16 = 3;
}

/// `NFTA_IMMEDIATE_*`
mod immediate {
    pub const REGISTER: u16 = 1;
    pub const DATA: u16 = 2;
}

/// `NFTA_REDIR_*`
mod redir {
    pub const PORT: u16 = 1;
}

/// `NFTA_NAT_*`
mod nat {
    pub const TYPE: u16 = 1;
    pub const FAMILY: u16 = 2;
    pub const ADDRESS: u16 = 3;
    pub const PORT: u16 = 5;
}

/// `NFTA_DATA_VALUE`
const DATA_VALUE: u16 = 1;
