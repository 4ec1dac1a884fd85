//! Entry bundles and the entries in them: what is whole is written the same; what is an entry can be read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mentorlog::ledger::tiles::{TornBundle, bundle, entries};
use mentorlog_events::entry::{Entry, Envelope};
use mentorlog_events::event::Event;
use mentorlog_events::event::registry::RegistryEvent;

fuzz_target!(|bytes: &[u8]| {
    let read: Result<Vec<&[u8]>, TornBundle> = entries(bytes).collect();
    let Ok(read) = read else { return };
    assert_eq!(bundle(read.iter().copied()), bytes);
    for entry in read {
        let _ = Envelope::parse(entry);
        let _ = Entry::<Event>::parse(entry);
        let _ = Entry::<RegistryEvent>::parse(entry);
    }
});
