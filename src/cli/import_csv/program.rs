//! The program a table is imported into: what there is of it, and opening it.
//! Never opens one that may be a slip of the pen: where there are programs, a new one takes a word more.

use std::collections::BTreeMap;

use bytes::Bytes;
use hyper::Method;
use mentorlog_events::event::{MeasurePolicy, RulePolicy, SkillDefined, Skills};
use mentorlog_events::id::Slug;
use mentorlog_events::time::Zone;
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use super::Arguments;
use crate::cli::Failure;
use crate::cli::client::Connection;
use crate::cli::source::ProgramName;

/// The program, as far as an import goes by it.
#[derive(Deserialize)]
pub(super) struct Found {
    pub(super) state: String,
    pub(super) time_zone: Zone,
    pub(super) policy: Policy,
}

#[derive(Deserialize)]
pub(super) struct Policy {
    pub(super) rules: RulePolicy,
    pub(super) measures: MeasurePolicy,
}

/// Asks for the program. `None`: there is none, and it may be opened.
pub(super) fn find(
    runtime: &Runtime,
    connection: &mut Connection,
    arguments: &Arguments,
) -> Result<Option<Found>, Failure> {
    let Arguments { program, time_zone, .. } = arguments;
    match runtime.block_on(connection.get(&format!("/v1/programs/{program}"))) {
        Ok(body) => {
            let found: Found = serde_json::from_slice(&body).map_err(Failure::new)?;
            match time_zone {
                Some(zone) if *zone != found.time_zone => Err(Failure::new(format_args!(
                    "the program `{program}` is in {} for ever, not in {}: leave --time-zone out",
                    found.time_zone.name(),
                    zone.name()
                ))),
                Some(_) | None => Ok(Some(found)),
            }
        }
        Err(error) if error.code() == Some("no-such-program") && matches!(program, ProgramName::Slug(_)) => {
            if time_zone.is_none() {
                is_meant(runtime, connection, program)?;
            }
            Ok(None)
        }
        Err(error) => Err(Failure::new(error)),
    }
}

/// Where there are programs of other names, this one may be mistyped.
fn is_meant(runtime: &Runtime, connection: &mut Connection, program: &ProgramName) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Listed {
        programs: Vec<Named>,
    }
    #[derive(Deserialize)]
    struct Named {
        slug: String,
    }
    let listed = runtime.block_on(connection.get("/v1/programs")).map_err(Failure::new)?;
    let listed: Listed = serde_json::from_slice(&listed).map_err(Failure::new)?;
    if listed.programs.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = listed.programs.into_iter().map(|named| named.slug).collect();
    Err(Failure::new(format_args!(
        "there is no program `{program}`, there is: {}; to open it, say in which time zone it lies (--time-zone): that \
         decides its civil days, for ever",
        names.join(", ")
    )))
}

/// Opens the program, with its slug as its name: the zone it is in.
pub(super) fn open(
    runtime: &Runtime,
    connection: &mut Connection,
    arguments: &Arguments,
) -> Result<Zone, Failure> {
    #[derive(Serialize)]
    struct OpenProgram<'a> {
        slug: &'a str,
        name: &'a str,
        time_zone: &'static str,
    }
    let slug = arguments.program.to_string();
    let zone = arguments.time_zone.unwrap_or(Zone::UTC);
    let opening = OpenProgram { slug: &slug, name: &slug, time_zone: zone.name() };
    let body = serde_json::to_vec(&opening).map_err(Failure::new)?;
    let opened = connection.send(Method::POST, "/v1/programs", "application/json", body.into());
    match runtime.block_on(opened) {
        Ok(_) => {
            eprintln!("mentorlog: opened the program `{slug}` in {}", zone.name());
            Ok(zone)
        }
        // Somebody else opened it meanwhile.
        Err(error) if error.code() == Some("slug-taken") => Ok(zone),
        Err(error) => Err(Failure::new(error)),
    }
}

/// The skills that may be named; none where any may.
pub(super) fn listed(
    runtime: &Runtime,
    connection: &mut Connection,
    arguments: &Arguments,
    found: Option<&Found>,
) -> Result<Vec<Slug>, Failure> {
    #[derive(Deserialize)]
    struct Told {
        seq: u64,
        data: SkillDefined,
    }
    if found.is_none_or(|found| found.policy.rules.skills != Skills::Listed) {
        return Ok(Vec::new());
    }
    let mut told: BTreeMap<u64, (bool, Slug)> = BTreeMap::new();
    for (kind, defined) in [("skill-defined", true), ("skill-retired", false)] {
        let path = format!("/v1/programs/{}/events?type={kind}", arguments.program);
        let body = runtime.block_on(async {
            let response = connection.send(Method::GET, &path, "application/x-ndjson", Bytes::new()).await?;
            connection.whole(response).await
        });
        for line in body.map_err(Failure::new)?.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            // Both facts are a skill and nothing else.
            let Told { seq, data } = serde_json::from_slice(line).map_err(Failure::new)?;
            told.insert(seq, (defined, data.skill));
        }
    }
    let mut listed = Vec::new();
    for (defined, skill) in told.into_values() {
        listed.retain(|known| *known != skill);
        if defined {
            listed.push(skill);
        }
    }
    Ok(listed)
}
