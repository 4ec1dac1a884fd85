//! The figures of a program as gauges: what is withheld from outsiders is not among them.
//! Never computes a figure and never names a person: a close of a week becomes its series, and nothing else does.

/// A gauge of program figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// What it says.
    pub help: &'static str,
}

/// One value of one series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Which of [`FAMILIES`].
    pub family: usize,
    /// Names and values of its labels; the first is the program.
    pub labels: Vec<(&'static str, String)>,
    /// Its value, in the unit of the name.
    pub value: u64,
}

/// Every gauge of program figures, in the order in which they are written.
pub const FAMILIES: &[Family] = &[
    Family {
        name: "mentorlog_figures_as_of_timestamp_seconds",
        help: "The end of the week at whose close the figures of the program stand.",
    },
    Family { name: "mentorlog_participants", help: "Participants by state." },
    Family { name: "mentorlog_pairs", help: "Pairs by state." },
];
