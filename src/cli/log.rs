//! What happened, as lines on stderr for the operator: for people, or as JSON.
//! Never lets anybody else write a line, or break one; and never passes on what libraries say in passing.

use std::io::{self, IsTerminal as _, Write};

use tracing::{Level, Metadata};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Writes what happens from now on to stderr, as far as `MENTORLOG_LOG` asks for it; without that from `level` on.
pub fn begin(format: LogFormat, level: &str) {
    let filter = EnvFilter::try_from_env("MENTORLOG_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let colours = format == LogFormat::Text
        && io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|no_colour| no_colour.is_empty());
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(Stderr { colours })
        .with_ansi(colours)
        .with_target(false);
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => {
            lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
        }
    };
    tracing_subscriber::registry().with(lines.with_filter(filter).with_filter(filter_fn(is_ours))).init();
}

/// What we say ourselves, and warnings of libraries. Below that they write down heads with all that is in them, however
/// much `MENTORLOG_LOG` may ask for it.
fn is_ours(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    target == "mentorlog" || target.starts_with("mentorlog::") || *metadata.level() <= Level::WARN
}

/// stderr, a line at a time.
#[derive(Clone, Copy)]
struct Stderr {
    colours: bool,
}

impl<'a> MakeWriter<'a> for Stderr {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { colours: self.colours }
    }
}

struct Line {
    colours: bool,
}

impl Write for Line {
    /// An event comes as one whole line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        io::stderr().lock().write_all(plain(line, self.colours).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The line with its own end, and without anything within that ends or forges a line or commands a terminal. In JSON
/// what is put in its place is an escape of JSON.
fn plain(line: &[u8], colours: bool) -> String {
    use std::fmt::Write as _;
    let text = String::from_utf8_lossy(line);
    let body = text.strip_suffix('\n').unwrap_or(&text);
    let mut plain = String::with_capacity(text.len());
    for c in body.chars() {
        let acts = c.is_control() && !(colours && c == '\u{1b}')
            // Separators of lines and paragraphs, marks that turn the direction of writing, and what cannot be seen.
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
        if acts {
            let _ = write!(plain, "\\u{:04x}", u32::from(c));
        } else {
            plain.push(c);
        }
    }
    plain.push('\n');
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_whatever_is_in_it() {
        let evil = "a\nb\r\u{1b}[31mc\u{85}\u{2028}\u{2029}\u{202e}\u{7f}\0d\n";
        assert_eq!(
            plain(evil.as_bytes(), false),
            "a\\u000ab\\u000d\\u001b[31mc\\u0085\\u2028\\u2029\\u202e\\u007f\\u0000d\n"
        );
        assert_eq!(plain(b"\x1b[32mINFO\x1b[0m fine\n", true), "\u{1b}[32mINFO\u{1b}[0m fine\n");
        assert_eq!(plain("Grüße".as_bytes(), false), "Grüße\n");
        assert_eq!(plain(b"\xff", false), "\u{fffd}\n");
    }

    #[test]
    fn an_escaped_line_of_json_is_still_json_of_the_same_text() {
        let text = "x\u{2028}y\u{85}\u{202e}";
        let line = plain(serde_json::to_string(&text).unwrap().as_bytes(), false);
        assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
    }
}
