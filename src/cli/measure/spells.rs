//! Retention of lives that were measured elsewhere: from when, to when, and how they stopped.
//! Never compares more groups than a person can look at.

use std::collections::BTreeMap;
use std::io::Read;

use mentorlog_projections::statistics::lives::{Cause, Life, LifeTable, Outcome};
use serde::Serialize;

use super::DAYS_MAX;
use super::curves::{Comparison, Horizons, Stratum};
use super::rows::{Cells, Column, Table, Tally, Unreadable, shown};

/// More groups than this are a mistaken column; the comparison grows with their square.
const GROUPS_MAX: usize = 100;

const WANTED: &str = "exit, event or cause, and, if you have them, entry, group";

/// What the lives add up to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    pub input: Tally,
    /// Whether ends are told apart by cause.
    pub by_cause: bool,
    /// By name; one called `all` where there are no groups.
    pub strata: Vec<Stratum>,
    /// `None` where there is but one group.
    pub test: Option<Comparison>,
}

struct Columns {
    entry: Option<Column>,
    exit: Column,
    ended: Column,
    by_cause: bool,
    group: Option<Column>,
}

impl Columns {
    fn find(table: &Table) -> Result<Self, Unreadable> {
        let exit = table.column("exit")?.ok_or_else(|| table.lacks("`exit`", WANTED))?;
        let (ended, by_cause) = match (table.column("event")?, table.column("cause")?) {
            (Some(event), None) => (event, false),
            (None, Some(cause)) => (cause, true),
            (None, None) => return Err(table.lacks("`event` or `cause`", WANTED)),
            (Some(_), Some(_)) => {
                return Err(Unreadable::Header(
                    "the header has both `event` and `cause`: keep the one that says how lives stopped"
                        .into(),
                ));
            }
        };
        Ok(Self { entry: table.column("entry")?, exit, ended, by_cause, group: table.column("group")? })
    }

    fn life(&self, cells: &Cells<'_>) -> Result<Life, String> {
        let entry = match self.entry {
            Some(column) if !cells.text(column)?.is_empty() => cells.whole(column, 0, DAYS_MAX)?,
            _ => 0,
        };
        let exit = cells.whole(self.exit, 0, DAYS_MAX)?;
        let most = if self.by_cause { u8::MAX } else { 1 };
        let ended = cells.whole(self.ended, 0, most.into())?;
        let outcome = match u8::try_from(ended) {
            Ok(cause @ 1..) => Outcome::Ended(Cause(cause)),
            _ => Outcome::Censored,
        };
        Life::entering(entry, exit, outcome).ok_or_else(|| {
            format!(
                "entry {entry} is not before exit {exit}, so the life was never seen: leave entry empty if it \
                 was seen from its start"
            )
        })
    }
}

/// Measures a table of lives.
pub fn measure(
    input: impl Read + 'static,
    horizons: &Horizons,
    reject: &mut dyn FnMut(u64, &str),
) -> Result<Report, Unreadable> {
    let mut table = Table::open(input)?;
    let columns = Columns::find(&table)?;
    let mut groups: BTreeMap<String, LifeTable> = BTreeMap::new();
    if columns.group.is_none() {
        groups.insert("all".into(), LifeTable::default());
    }
    let (rows, rejected) = table.each(reject, |cells| {
        let life = columns.life(cells)?;
        let name = match columns.group {
            None => "all",
            Some(column) => match cells.text(column)? {
                "" => "(none)",
                name => name,
            },
        };
        if let Some(lives) = groups.get_mut(name) {
            lives.add(life);
        } else if groups.len() < GROUPS_MAX {
            groups.entry(name.to_owned()).or_default().add(life);
        } else {
            return Err(format!(
                "group `{}` is one too many: at most {GROUPS_MAX} can be compared; is it the right column?",
                shown(name)
            ));
        }
        Ok(())
    })?;
    let named = || groups.iter().map(|(name, lives)| (name.as_str(), lives));
    Ok(Report {
        input: Tally { rows, measured: rows - rejected, rejected, after_as_of: None, left_out: None },
        by_cause: columns.by_cause,
        strata: named()
            .map(|(name, lives)| Stratum::of(name, lives, None, columns.by_cause, horizons))
            .collect(),
        test: (groups.len() > 1).then(|| Comparison::of(named())),
    })
}
