//! What proves a program's numbers: its checkpoint, its witnesses, and how to check both without trusting anybody here.
//! Never says more than is proven.

use maud::{Markup, html};
use mentorlog_events::time::Timestamp;

use super::frame::{self, Here, cell, empty, table};
use super::numbers::{count, instant, of, time};

/// A published checkpoint as text.
pub struct Checkpoint {
    /// Entries it covers.
    pub size: u64,
    /// The root, in base64.
    pub root: String,
    /// The signed note, to the byte.
    pub note: String,
}

/// A key of the ledger.
pub struct Key {
    /// Its number.
    pub number: u32,
    /// As verifiers take it.
    pub vkey: String,
    /// From when.
    pub since: Timestamp,
    /// Until when; `None` while it signs.
    pub until: Option<Timestamp>,
}

/// Who cosigns the registry.
pub struct Witness {
    /// Its name.
    pub name: String,
    /// The largest registry it has cosigned.
    pub size: u64,
    /// Why it has not cosigned the registry as it is.
    pub problem: Option<String>,
}

/// The ledger at its newest entry.
pub struct Head {
    /// Its entries.
    pub size: u64,
    /// Its root, in base64.
    pub root: String,
}

/// What the page is made from.
pub struct Audit {
    /// The ledger as it is now.
    pub now: Head,
    /// The name its checkpoints carry.
    pub origin: String,
    /// The published checkpoint; `None` before the first.
    pub checkpoint: Option<Checkpoint>,
    /// The ledger's keys.
    pub keys: Vec<Key>,
    /// The registry's key, as verifiers take it.
    pub registry_key: Option<String>,
    /// Entries of the registry.
    pub registry_size: u64,
    /// Whether the reader may have the registry, so that their bundle holds it.
    pub with_registry: bool,
    /// Who cosigns the registry.
    pub witnesses: Vec<Witness>,
    /// Why nothing more is published, if so.
    pub refused: Option<String>,
    /// Published reports: the digest and the week.
    pub reports: Vec<(String, String)>,
}

/// The ledger at the moment that was asked for, and the proof that it is the beginning of today's.
fn as_it_was(here: &Here, now: &Head) -> Markup {
    let (slug, then) = (&here.slug, here.size);
    let proofs = format!("/v1/programs/{slug}/proofs");
    html! {
        section aria-labelledby="h-then" {
            h2 #h-then { "Where it stood then" }
            dl.facts {
                dt { "Entries" } dd { (count(then)) }
                dt { "Root" } dd { code.hash { (here.root) } }
                dt { "Newest entry" } dd { "of " (time(here.recorded)) ", #" (count(then - 1)) }
            }
            @if then < now.size {
                p {
                    a href=(format!("{proofs}/consistency?old={then}&new={}", now.size)) { "The proof that the ledger of today begins with these " (of(then, "entry", "entries")) }
                    " (JSON): hashes with which both roots on this page can be reckoned again, so that nothing of them was changed, left out or put in since."
                }
            } @else { p { "Nothing was recorded since." } }
            p {
                a href=(format!("{proofs}/inclusion?seq={}&size={then}", then - 1)) { "The proof that #" (count(then - 1)) " was in it" }
                " (JSON). Whoever kept a checkpoint of " (of(then, "entry", "entries")) " can compare its root with the one above."
            }
        }
    }
}

/// The page.
pub fn page(here: &Here, audit: &Audit) -> Markup {
    let slug = &here.slug;
    let vkey = audit.registry_key.as_deref().unwrap_or("REGISTRY_VKEY");
    let keys: Vec<Vec<Markup>> = audit
        .keys
        .iter()
        .map(|key| {
            vec![
                cell(key.number.to_string()),
                html! { code.hash { (key.vkey) } },
                instant(key.since),
                key.until.map_or_else(|| cell("signs now"), instant),
            ]
        })
        .collect();
    let witnesses: Vec<Vec<Markup>> = audit
        .witnesses
        .iter()
        .map(|one| {
            vec![
                cell(&one.name),
                cell(count(one.size)),
                cell(one.problem.as_deref().unwrap_or(if one.size >= audit.registry_size {
                    "up to date"
                } else {
                    "on its way"
                })),
            ]
        })
        .collect();
    let main = html! {
        h1 { "Audit" }
        p.lead { "Every entry is a leaf of an RFC 6962 Merkle tree. Whoever keeps one checkpoint can later prove that nothing before it was changed, left out or put in." }
        @if let Some(why) = &audit.refused {
            div.notice { p { strong { "Nothing more is published of this ledger: " } (why) } }
        }
        @if here.is_of_the_past() { (as_it_was(here, &audit.now)) }
        section aria-labelledby="h-head" {
            h2 #h-head { @if here.is_of_the_past() { "Where it stands now" } @else { "Where it stands" } }
            dl.facts {
                dt { "Entries" } dd { (count(audit.now.size)) }
                dt { "Root" } dd { code.hash { (audit.now.root) } }
                dt { "Origin" } dd { code.hash { (audit.origin) } }
            }
            @match &audit.checkpoint {
                None => { (empty("Checkpoint", "Nothing is published: this service publishes no checkpoints, or the first one is not out yet.")) }
                Some(checkpoint) => {
                    h3 { "The signed checkpoint" }
                    pre tabindex="0" { (checkpoint.note) }
                    p.quiet {
                        "It covers " (of(checkpoint.size, "entry", "entries"))
                        @if checkpoint.size < audit.now.size { "; " (of(audit.now.size - checkpoint.size, "entry", "entries")) " came since and will be covered within a second" }
                        ". " a href=(format!("/log/{slug}/checkpoint")) { "Keep a copy" } ": it is all you need to notice a rewrite later."
                    }
                }
            }
        }
        section aria-labelledby="h-verify" {
            h2 #h-verify { "How to verify" }
            p { "With this program's own tool, against the running server. It hashes every entry again:" }
            pre tabindex="0" { "mentorlog verify $SERVER --program " (slug) " \\\n  --vkey '" (vkey) "'" }
            @if audit.checkpoint.is_some() {
                p { a.button href=(format!("/v1/programs/{slug}/bundle")) download="" { "Download the bundle" } }
                p { "A tar archive that needs no server: every entry up to the checkpoint, the reports, and instructions, also for verifiers others wrote in Go and Python. "
                    @if audit.with_registry { "The registry is in it." }
                    @else { "The registry, which vouches for the key and says how long the ledger was, is not in it: this token may not read it." } }
            }
            p { "The same with the command line:" }
            pre tabindex="0" { "mentorlog export --program " (slug) " --server $SERVER --out " (slug) "-bundle\nmentorlog verify " (slug) "-bundle --pin " (slug) ".checkpoint \\\n  --vkey '" (vkey) "'" }
            p { "Or fetch it as a static log in the C2SP tlog-tiles layout: " code { "/log/" (slug) "/checkpoint" } ", "
                code { "/log/" (slug) "/tile/entries/000" } ", " code { "/log/" (slug) "/tile/0/000" } "." }
            ul {
                li { a href=(format!("/log/{slug}/checkpoint")) { "Checkpoint" } }
                li { a href=(format!("/v1/programs/{slug}/events")) { "Entries (JSON, the first 100)" } }
                li { a href="/v1/keys" { "Keys and witnesses (JSON)" } }
                li { a href=(here.link("/history", &[])) { "Every event with its own proof" } }
            }
        }
        section aria-labelledby="h-keys" {
            h2 #h-keys { "Keys" }
            @if keys.is_empty() { p.quiet { "No key is known of this ledger." } }
            @else { (table("Keys of this ledger, as the registry records them", &["Number", "Verifier key", "Since", "Until"], &keys, 4)) }
            @if let Some(key) = &audit.registry_key { p { "The registry vouches for them. Its key: " code.hash { (key) } } }
        }
        section aria-labelledby="h-witnesses" {
            h2 #h-witnesses { "Witnesses" }
            @if witnesses.is_empty() {
                p { "No witness is set up. Without one, or a checkpoint of your own, whoever holds the keys could rewrite everything and sign it again, and nobody would notice." }
            } @else {
                (table("Who has seen the registry, and how much of it", &["Witness", "Cosigned up to", "State"], &witnesses, 3))
                p.quiet { "The registry has " (of(audit.registry_size, "entry", "entries")) "." }
            }
        }
        section aria-labelledby="h-reports" {
            h2 #h-reports { "Signed reports" }
            @if audit.reports.is_empty() { p.quiet { "No report of this program was published yet." } }
            @else { ul { @for (digest, week) in &audit.reports { li { a href={ "/v1/reports/" (digest) } { (week) } " " code.hash { (digest) } } } } }
        }
        section aria-labelledby="h-not" {
            h2 #h-not { "What no proof says" }
            p { "That what was recorded happened; that nothing was left out before it was recorded; that the service's clock was right. Two people who confirm each other's sessions through different services are the best evidence there is: the share of confirmed sessions stands beside every figure." }
        }
    };
    frame::page(&format!("Audit · {}", here.name), here, &main)
}
