//! A progress bar on stderr, for what takes longer than a second.
//! Never shows itself where nobody looks: without a terminal it is silent.

use std::borrow::Cow;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What is over sooner needs no bar.
const SHOWN_AFTER: Duration = Duration::from_secs(1);

/// How far a command has come.
pub struct Progress {
    bar: ProgressBar,
    begun: Instant,
    shown: AtomicBool,
}

impl Progress {
    /// Nothing of `total` is done.
    pub fn new(doing: impl Into<Cow<'static, str>>, total: u64) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
        // No colours: NO_COLOR holds without being asked for.
        let style = "{msg} [{wide_bar}] {human_pos}/{human_len} {per_sec} {eta} left";
        bar.set_style(
            ProgressStyle::with_template(style).expect("the template is constant").progress_chars("#>-"),
        );
        bar.set_message(doing);
        Self { bar, begun: Instant::now(), shown: AtomicBool::new(false) }
    }

    /// So much more is done.
    pub fn add(&self, done: u64) {
        self.bar.inc(done);
        if self.begun.elapsed() >= SHOWN_AFTER && !self.shown.swap(true, Ordering::Relaxed) {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }

    /// Writes a line to stderr, above the bar.
    pub fn say(&self, line: impl std::fmt::Display) {
        // Nobody has to read it.
        self.bar.suspend(|| {
            let _ = writeln!(std::io::stderr(), "{line}");
        });
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
