//! Entries as CloudEvents 1.0 in the JSON batch format, with the documented extensions: recordedtime, sequence,
//! correlation, partitioning and auth context. Never adds anything that the entry does not say.

use std::fmt::Write as _;

use mentorlog_events::id::ProgramId;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The media type of a batch.
pub const BATCH: &str = "application/cloudevents-batch+json";

/// What stands before an event's type.
const TYPES: &str = "org.mentorlog.";

/// An entry, as far as it is told here.
#[derive(Deserialize)]
struct Stored<'a> {
    seq: u64,
    id: &'a str,
    r#type: &'a str,
    v: u32,
    recorded_at: &'a str,
    actor: &'a str,
    principal: &'a str,
    correlation: Option<&'a str>,
    causation: Option<&'a str>,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// What an event is about and when it happened, whichever of these it says.
#[derive(Deserialize)]
struct Said<'a> {
    occurred_at: Option<&'a str>,
    session: Option<&'a str>,
    goal: Option<&'a str>,
    no_show: Option<&'a str>,
    pair: Option<&'a str>,
    round: Option<&'a str>,
    participant: Option<&'a str>,
    skill: Option<&'a str>,
    program: Option<&'a str>,
}

/// One event. Its fields are in the order of the specification's examples.
#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'a str,
    id: &'a str,
    /// The ledger.
    source: &'a str,
    r#type: String,
    /// The entity the event is about.
    subject: String,
    /// When it happened.
    time: &'a str,
    /// When it was recorded (extension `recordedtime`).
    recordedtime: &'a str,
    /// Position in the ledger, as a string that sorts (extension `sequence`): CloudEvents integers have 32 bits.
    sequence: String,
    partitionkey: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlationid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    causationid: Option<&'a str>,
    authtype: &'a str,
    authid: &'a str,
    dataschema: String,
    datacontenttype: &'a str,
    data: &'a RawValue,
}

/// Writes an entry as one CloudEvent. `source` is the ledger's URI.
pub fn write(
    out: &mut Vec<u8>,
    entry: &[u8],
    source: &str,
    program: ProgramId,
) -> Result<(), serde_json::Error> {
    let stored: Stored<'_> = serde_json::from_slice(entry)?;
    let said: Said<'_> = serde_json::from_str(stored.data.get())?;
    let about = [
        ("sessions", said.session),
        ("goals", said.goal),
        ("no-shows", said.no_show),
        ("pairs", said.pair),
        ("rounds", said.round),
        ("participants", said.participant),
        ("skills", said.skill),
        ("programs", said.program),
    ];
    let about = about.into_iter().find_map(|(kind, id)| Some((kind, id?)));
    let mut subject = String::with_capacity(48);
    match about {
        Some((kind, id)) => write!(subject, "{kind}/{id}"),
        None => write!(subject, "programs/{program}"),
    }
    .expect("writing to memory cannot fail");
    let event = CloudEvent {
        specversion: "1.0",
        id: stored.id,
        source,
        r#type: format!("{TYPES}{}.v{}", stored.r#type, stored.v),
        subject,
        time: said.occurred_at.unwrap_or(stored.recorded_at),
        recordedtime: stored.recorded_at,
        sequence: format!("{:020}", stored.seq),
        partitionkey: program.to_string(),
        correlationid: stored.correlation,
        causationid: stored.causation,
        // The software itself, or a service in the name of whoever acted; who that was is never told here.
        authtype: if stored.actor == "system" { "system" } else { "service_account" },
        authid: stored.principal,
        dataschema: format!("urn:mentorlog:event:{}:{}", stored.r#type, stored.v),
        datacontenttype: "application/json",
        data: stored.data,
    };
    serde_json::to_writer(out, &event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_becomes_a_cloud_event_and_keeps_its_data_to_the_byte() {
        let entry = br#"{"seq":41,"id":"0197a000-0000-7000-8000-000000000001","type":"session-logged","v":1,"recorded_at":"2026-11-21T09:30:00.123456Z","day":"2026-11-21","actor":"manager","principal":"app","command":{"id":"0197a000-0000-7000-8000-000000000002"},"correlation":"0197a000-0000-4000-8000-000000000003","data":{"session":"0197a000-0000-4000-8000-000000000004","pair":"0197a000-0000-4000-8000-000000000005","occurred_at":"2026-11-20T09:30:00.000000Z","minutes":30},"sealed":[{"at":"/note","c":"AAAA"}]}"#;
        let program = "0197a000-0000-4000-8000-00000000000a".parse().unwrap();
        let mut out = Vec::new();
        write(&mut out, entry, "urn:mentorlog:i/p/1", program).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap());
    }

    #[test]
    fn every_event_there_is_can_be_told() {
        let samples = concat!(env!("CARGO_MANIFEST_DIR"), "/events/samples");
        let program = "0197a000-0000-4000-8000-00000000000a".parse().unwrap();
        let mut told = 0;
        for folder in std::fs::read_dir(samples).unwrap().filter_map(Result::ok) {
            let Ok(files) = std::fs::read_dir(folder.path()) else { continue };
            for file in files {
                let entry = std::fs::read(file.unwrap().path()).unwrap();
                let mut out = Vec::new();
                write(&mut out, entry.trim_ascii_end(), "urn:mentorlog:i/p/1", program).unwrap();
                let event: serde_json::Value = serde_json::from_slice(&out).unwrap();
                for name in event.as_object().unwrap().keys() {
                    assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()), "{name}");
                    assert!(name.len() <= 20, "{name} is longer than the specification recommends");
                }
                told += 1;
            }
        }
        assert!(told > 50, "{told}");
    }
}
