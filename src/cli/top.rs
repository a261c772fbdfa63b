//! `shunt top`

use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;

use super::flows::bytes;
use super::terminal::{Key, Terminal};
use super::{DONE, Instance};
use crate::instance;
use crate::observe::{self, Flow, FlowSide};

/// Show open flows live: client and server, share of direct bytes, rate, and why not direct
///
/// Keys: arrows or j and k select a flow, whose details are in the last lines; s changes the sort
/// column, / filters, p pauses, ? shows help, q quits.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    shunt top                              every second\n  \
    shunt top --name pods --interval 5     of another instance, every 5 seconds")]
pub struct Top {
    #[command(flatten)]
    instance: Instance,
    /// Seconds between updates
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=3600)
    )]
    interval: u32,
}

impl Top {
    pub fn run(self) -> Result<ExitCode> {
        let instance = instance::Instance::open(self.instance.pins()?)?;
        let stop = Arc::new(AtomicBool::new(false));
        for signal in
            [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP]
        {
            signal_hook::flag::register(signal, Arc::clone(&stop))
                .context("cannot take signals")?;
        }
        let interval = Duration::from_secs(self.interval.into());
        let mut view = View::new(instance.pins().name().to_string());
        let terminal = Terminal::open()?;
        let mut looked = None::<Instant>;
        while !stop.load(Ordering::Relaxed) && !view.quits {
            if !view.paused && looked.is_none_or(|at| at.elapsed() >= interval) {
                let since = looked.map_or(Duration::ZERO, |at| at.elapsed());
                looked = Some(Instant::now());
                view.update(observe::flows(&instance)?, since);
            }
            let (columns, rows) = terminal.size();
            terminal.show(&view.frame(columns, rows))?;
            // Short, so that a resize is noticed soon.
            for key in terminal.keys(Duration::from_millis(200))? {
                view.press(key);
            }
        }
        Ok(DONE)
    }
}

/// The sort column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Rate,
    Share,
    Total,
    Client,
}

impl Sort {
    fn next(self) -> Sort {
        match self {
            Sort::Rate => Sort::Share,
            Sort::Share => Sort::Total,
            Sort::Total => Sort::Client,
            Sort::Client => Sort::Rate,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Sort::Rate => "rate",
            Sort::Share => "direct share, lowest first",
            Sort::Total => "bytes",
            Sort::Client => "client",
        }
    }
}

/// A flow as displayed.
#[derive(Clone, Debug)]
struct Row {
    /// Identifies the flow.
    id: u64,
    direct: u64,
    total: u64,
    /// Bytes per second, both ways.
    rate: f64,
    why: &'static str,
    /// Becomes text only where it is shown or searched: of many flows, few are.
    flow: Flow,
}

impl Row {
    fn client(&self) -> String {
        endpoint(self.flow.client.as_ref())
    }

    fn server(&self) -> String {
        endpoint(self.flow.server.as_ref())
    }

    fn details(&self) -> [String; 2] {
        let Flow { client, server } = &self.flow;
        [details("client", client.as_ref()), details("server", server.as_ref())]
    }

    /// Whether what is shown of it has this text, in lower case.
    fn mentions(&self, text: &str) -> bool {
        let [client, server] = self.details();
        let all = [self.client(), self.server(), self.why.to_owned(), client, server];
        all.iter().any(|part| part.to_lowercase().contains(text))
    }

    fn share(&self) -> f64 {
        if self.total == 0 { 0.0 } else { self.direct as f64 / self.total as f64 }
    }
}

/// State of the display.
struct View {
    name: String,
    rows: Vec<Row>,
    /// Bytes at the last update, by flow.
    before: HashMap<u64, u64>,
    sort: Sort,
    filter: String,
    typing: bool,
    paused: bool,
    helps: bool,
    quits: bool,
    /// The selected flow by id, as its row may move.
    selected: Option<u64>,
    /// Number of flows that fitted on the last screen.
    page: usize,
}

impl View {
    fn new(name: String) -> View {
        View {
            name,
            rows: Vec::new(),
            before: HashMap::new(),
            sort: Sort::Rate,
            filter: String::new(),
            typing: false,
            paused: false,
            helps: false,
            quits: false,
            selected: None,
            page: 1,
        }
    }

    /// Takes the flows seen, and the time since the last update.
    fn update(&mut self, flows: Vec<Flow>, since: Duration) {
        self.rows = flows
            .into_iter()
            .map(|flow| {
                let mut row = row(flow);
                let seconds = since.as_secs_f64();
                if let (Some(before), true) = (self.before.get(&row.id), seconds > 0.0) {
                    row.rate = row.total.saturating_sub(*before) as f64 / seconds;
                }
                row
            })
            .collect();
        self.before = self.rows.iter().map(|row| (row.id, row.total)).collect();
    }

    /// The rows that pass the filter, sorted.
    fn shown(&self) -> Vec<&Row> {
        let text = self.filter.to_lowercase();
        let passes = |row: &&Row| text.is_empty() || row.mentions(&text);
        let mut rows: Vec<&Row> = self.rows.iter().filter(passes).collect();
        match self.sort {
            Sort::Rate => rows.sort_by(|a, b| b.rate.total_cmp(&a.rate)),
            Sort::Share => rows.sort_by(|a, b| a.share().total_cmp(&b.share())),
            Sort::Total => rows.sort_by_key(|row| std::cmp::Reverse(row.total)),
            Sort::Client => rows.sort_by_cached_key(|row| row.client()),
        }
        rows
    }

    fn press(&mut self, key: Key) {
        match key {
            Key::Interrupt => self.quits = true,
            Key::Enter | Key::Escape if self.typing => {
                self.typing = false;
                if key == Key::Escape {
                    self.filter.clear();
                }
            }
            Key::Backspace if self.typing => drop(self.filter.pop()),
            Key::Char(c) if self.typing => self.filter.push(c),
            _ if self.helps => self.helps = false,
            Key::Char('q') => self.quits = true,
            Key::Char('s') => self.sort = self.sort.next(),
            Key::Char('p' | ' ') => self.paused = !self.paused,
            Key::Char('?' | 'h') => self.helps = true,
            Key::Char('/') => {
                self.typing = true;
                self.filter.clear();
            }
            Key::Escape => self.filter.clear(),
            Key::Up | Key::Char('k') => self.go(-1),
            Key::Down | Key::Char('j') => self.go(1),
            Key::PageUp => self.go(-(self.page as isize)),
            Key::PageDown => self.go(self.page as isize),
            _ => {}
        }
    }

    fn go(&mut self, by: isize) {
        let shown = self.shown();
        let at = self.place(&shown).saturating_add_signed(by).min(shown.len().saturating_sub(1));
        self.selected = shown.get(at).map(|row| row.id);
    }

    /// Row of the selected flow; the first if it has closed.
    fn place(&self, shown: &[&Row]) -> usize {
        shown.iter().position(|row| Some(row.id) == self.selected).unwrap_or(0)
    }

    /// The screen as lines, within its width and height.
    fn frame(&mut self, columns: usize, rows: usize) -> Vec<String> {
        let mut lines = if self.helps { help() } else { self.table(columns, rows) };
        lines.truncate(rows);
        lines
            .into_iter()
            .map(|(style, text)| {
                let text = fit(&text, columns);
                format!("{style}{text}")
            })
            .collect()
    }

    fn table(&mut self, columns: usize, rows: usize) -> Vec<(&'static str, String)> {
        const HEAD: usize = 3;
        const DETAILS: usize = 3;
        let page = rows.saturating_sub(HEAD + DETAILS).max(1);
        self.page = page;
        let shown = self.shown();
        let place = self.place(&shown);
        let (direct, total) =
            self.rows.iter().fold((0, 0), |(d, t), row| (d + row.direct, t + row.total));
        let rate: f64 = self.rows.iter().map(|row| row.rate).sum();

        let mut title = format!(
            "shunt '{}': {} flows, {} direct, {}/s",
            self.name,
            self.rows.len(),
            percent(direct, total),
            bytes(rate as u64)
        );
        title.push_str(if self.paused { "  PAUSED" } else { "" });
        let mut state = format!("by {}", self.sort.name());
        if self.typing || !self.filter.is_empty() {
            state.push_str(&format!(
                "; filter: {}{} ({} of {})",
                self.filter,
                if self.typing { "_" } else { "" },
                shown.len(),
                self.rows.len()
            ));
        }
        state.push_str("; ? helps, q quits");

        // Two names share the width that the numbers leave.
        let width = columns.saturating_sub(1 + 1 + 6 + 1 + 10 + 1 + 12) / 2;
        let cells = |client: &str, server: &str, share: &str, rate: &str, why: &str| {
            format!("{} {} {share:>6} {rate:>10} {why}", fit(client, width), fit(server, width))
        };
        let mut lines = vec![("\x1b[1m", title), ("", state)];
        lines.push(("\x1b[7m", cells("CLIENT", "SERVER", "DIRECT", "PER SECOND", "WHY NOT")));
        // The selected flow is always visible.
        let first = place.saturating_sub(page - 1).max((place / page) * page).min(place);
        for (at, row) in shown.iter().enumerate().skip(first).take(page) {
            let text = cells(
                &row.client(),
                &row.server(),
                &percent(row.direct, row.total),
                &bytes(row.rate as u64),
                row.why,
            );
            lines.push((if at == place { "\x1b[1;7m" } else { "" }, text));
        }
        if let Some(row) = shown.get(place) {
            lines.resize(HEAD + page, ("", String::new()));
            lines.push(("\x1b[2m", "─".repeat(columns)));
            lines.extend(row.details().map(|details| ("", details)));
        } else {
            let nothing =
                if self.rows.is_empty() { "no open flows" } else { "no flow matches the filter" };
            lines.push(("", nothing.into()));
        }
        lines
    }
}

fn help() -> Vec<(&'static str, String)> {
    let text = "\
Keys

  arrows, j k, page up and down   select a flow; the last lines show its details
  s                               sort by rate, direct share, bytes, client
  /                               filter by text: process, address, pod, reason
  escape                          clear the filter
  p, space                        pause and resume
  q, Ctrl-C                       quit

DIRECT is the share of bytes that bypassed TCP, WHY NOT the reason of the last
message by TCP on a lane that is not direct: `shunt stats` explains each.

Any key goes back.";
    text.lines()
        .enumerate()
        .map(|(row, line)| (if row == 0 { "\x1b[1m" } else { "" }, line.to_owned()))
        .collect()
}

fn row(flow: Flow) -> Row {
    let sides = [&flow.client, &flow.server];
    let sum = |of: fn(&FlowSide) -> u64| {
        sides.iter().filter_map(|side| side.as_ref()).map(of).fold(0, u64::saturating_add)
    };
    let direct = sum(|side| side.direct_bytes);
    let why = sides.iter().filter_map(|side| side.as_ref()).find_map(|side| side.why);
    Row {
        id: sides.iter().find_map(|side| side.as_ref()).map_or(0, |side| side.cookie),
        direct,
        total: direct.saturating_add(sum(|side| side.tcp_bytes)),
        rate: 0.0,
        why: why.unwrap_or_default(),
        flow,
    }
}

fn endpoint(side: Option<&FlowSide>) -> String {
    match side {
        None => "-".into(),
        Some(side) => match &side.process {
            Some(process) => format!("{} {}", printable(&process.name), side.local),
            None => side.local.to_string(),
        },
    }
}

fn details(role: &str, side: Option<&FlowSide>) -> String {
    let Some(side) = side else { return format!("{role}: not enrolled") };
    let process = side
        .process
        .as_ref()
        .map_or("?".into(), |of| format!("{}[{}]", printable(&of.name), of.pid));
    let place = side
        .workload
        .as_ref()
        .map(|of| format!(" in {}", printable(&of.short())))
        .unwrap_or_default();
    let (direct, tcp) = (bytes(side.direct_bytes), bytes(side.tcp_bytes));
    format!("{role}: {process}{place} {}; sends {}: {direct} / {tcp} by TCP", side.local, side.mode)
}

/// Processes choose their own names: control characters must not reach the terminal.
fn printable(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn percent(part: u64, of: u64) -> String {
    if of == 0 { "-".into() } else { format!("{:.1}%", part as f64 * 100.0 / of as f64) }
}

/// Cuts or pads a text to exactly this many characters.
fn fit(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return format!("{text}{}", " ".repeat(width - length));
    }
    let mut cut: String = text.chars().take(width.saturating_sub(1)).collect();
    cut.push_str(if width == 0 { "" } else { "…" });
    cut
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Process;

    fn side(cookie: u64, name: &str, direct: u64, tcp: u64, why: Option<&'static str>) -> FlowSide {
        FlowSide {
            local: ([10, 0, 0, 1], cookie as u16).into(),
            remote: ([10, 0, 0, 2], 80).into(),
            cookie,
            state: "ESTABLISHED",
            netns: 1,
            process: Some(Process { pid: 1, name: name.into() }.into()),
            workload: None,
            mode: if why.is_none() { "direct" } else { "tcp" },
            why,
            direct_messages: 0,
            direct_bytes: direct,
            tcp_bytes: tcp,
            direct_unread: false,
            tcp_unread: 0,
        }
    }

    fn flows() -> Vec<Flow> {
        let flow = |client, server| Flow { client: Some(client), server: Some(server) };
        vec![
            flow(side(1, "curl", 900, 100, None), side(2, "nginx", 0, 0, None)),
            flow(side(3, "psql", 10, 9_990, Some("memory_gate")), side(4, "postgres", 0, 0, None)),
            Flow { client: Some(side(5, "evil\x1b[2J", 0, 0, None)), server: None },
        ]
    }

    fn view() -> View {
        let mut view = View::new("t".into());
        view.update(flows(), Duration::ZERO);
        view
    }

    fn names(view: &View) -> Vec<String> {
        let names = view.shown().into_iter().map(Row::client);
        names.map(|client| client.split(' ').next().unwrap_or_default().to_owned()).collect()
    }

    #[test]
    fn rates_are_computed_between_two_updates() {
        let mut view = view();
        let mut later = flows();
        later[1].client.as_mut().expect("a client").direct_bytes += 5_000;
        view.update(later, Duration::from_secs(2));
        assert_eq!(view.rows.iter().map(|row| row.rate as u64).collect::<Vec<_>>(), [0, 2_500, 0]);
        assert_eq!(names(&view)[0], "psql");
    }

    #[test]
    fn keys_sort_filter_choose_pause_and_quit() {
        let mut view = view();
        view.press(Key::Char('s'));
        assert_eq!(names(&view), ["evil?[2J", "psql", "curl"]);
        view.press(Key::Char('s'));
        assert_eq!(names(&view), ["psql", "curl", "evil?[2J"]);
        for key in "/MEMORY".chars() {
            view.press(Key::Char(key));
        }
        assert_eq!(names(&view), ["psql"], "a filter matches reasons, ignoring case");
        view.press(Key::Char('q'));
        assert!(!view.quits, "a letter typed into the filter is not a command");
        view.press(Key::Backspace);
        view.press(Key::Enter);
        assert_eq!(names(&view), ["psql"]);
        view.press(Key::Escape);
        assert_eq!(names(&view).len(), 3);

        view.press(Key::Down);
        assert_eq!(view.place(&view.shown()), 1);
        view.press(Key::PageDown);
        view.press(Key::Down);
        view.press(Key::Down);
        assert_eq!(view.place(&view.shown()), 2, "there is nothing below the last");
        view.press(Key::Char('p'));
        assert!(view.paused);
        view.press(Key::Char('?'));
        assert!(view.helps);
        view.press(Key::Char('q'));
        assert!(!view.helps && !view.quits, "any key leaves the help");
        view.press(Key::Char('q'));
        assert!(view.quits);
    }

    /// Strips escape sequences from a line.
    fn plain(line: &str) -> String {
        let mut text = String::new();
        let mut rest = line;
        while let Some((before, after)) = rest.split_once("\x1b[") {
            text.push_str(before);
            rest = after.split_once('m').map_or("", |(_, rest)| rest);
        }
        text + rest
    }

    #[test]
    fn the_display_never_exceeds_the_screen() {
        for helps in [false, true] {
            for (columns, rows) in [(80, 24), (132, 50), (40, 10), (20, 5), (1, 1), (0, 0)] {
                let mut view = view();
                view.helps = helps;
                let frame = view.frame(columns, rows);
                assert!(frame.len() <= rows, "{columns} x {rows}");
                for line in &frame {
                    assert!(plain(line).chars().count() <= columns, "{columns} x {rows}: {line}");
                }
            }
        }
    }

    #[test]
    fn eighty_columns_show_both_ends_the_direct_share_and_why_not() {
        let mut view = view();
        let frame: Vec<String> =
            view.frame(80, 24).iter().map(|line| plain(line).trim_end().to_owned()).collect();
        assert_eq!(
            frame[2],
            "CLIENT                   SERVER                   DIRECT PER SECOND WHY NOT"
        );
        let psql = frame.iter().find(|line| line.starts_with("psql")).expect("the flow");
        assert_eq!(
            psql,
            "psql 10.0.0.1:3          postgres 10.0.0.1:4        0.1%        0 B memory_gate"
        );
        assert!(frame.iter().any(|line| line.starts_with("client: ")), "{frame:#?}");
        assert!(!frame.concat().contains('\x1b'), "a process's name reached the terminal");
    }

    #[test]
    fn the_selected_flow_is_visible_however_many_there_are() {
        let mut view = View::new("t".into());
        let many: Vec<Flow> = (1..200)
            .map(|n| Flow { client: Some(side(n, &format!("p{n}"), 0, 0, None)), server: None })
            .collect();
        view.update(many, Duration::ZERO);
        for _ in 0..250 {
            let selected = view.shown()[view.place(&view.shown())].client();
            let frame = view.frame(80, 24);
            assert!(
                frame.iter().any(|line| line.contains("\x1b[1;7m") && line.contains(&selected)),
                "{selected}"
            );
            view.press(Key::Down);
        }
    }
}
