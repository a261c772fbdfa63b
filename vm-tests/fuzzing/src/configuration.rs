//! The configuration file.

use tcp_shunt::policy::file::{File, MAX_FLOWS, REFRESH};

/// A file is accepted, and its settings are in their ranges; or it is rejected, and the error says
/// why.
pub(crate) fn parse(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    match File::parse(&text) {
        Ok(file) => {
            let settings = &file.settings;
            assert!(settings.max_flows.is_none_or(|flows| MAX_FLOWS.contains(&flows)));
            assert!(settings.refresh.is_none_or(|seconds| REFRESH.contains(&seconds)));
            assert_eq!(settings.changes(settings), Vec::<&str>::new());
            assert_eq!(file.policy.changes(&file.policy), Vec::<String>::new());
            true
        }
        Err(error) => {
            assert!(!format!("{error:#}").is_empty(), "rejected without a reason");
            false
        }
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    const ALL: &str = "name = \"blue\"\nmax-flows = 4096\nrefresh = 30\n\
        [include]\nports = [80, \"8000-8100\"]\naddresses = [\"10.0.0.0/8\", \"fd00::/8\"]\n\
        processes = [\"nginx\"]\ncgroups = [\"/kubepods.slice\"]\n\
        [exclude]\nnamespaces = [\"kube-*\"]\npods = [\"shop/cart-*\"]\n";
    let example = include_bytes!("../../../deploy/shunt.toml");
    vec![ALL.as_bytes().to_vec(), example.to_vec()]
}
