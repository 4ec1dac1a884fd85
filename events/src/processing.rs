//! What each field that is kept is for, whose it is, how long it stays and who may see it.
//! Never knows a value: these are sentences about fields, and the record of processing is made of them.
//!
//! The record is that of Article 30 GDPR. A field says how it is handled where it is declared
//! ([`crate::event`]), so that one that does not say it does not compile.

use crate::entry::Facts;
use crate::event::Event;
use crate::event::registry::RegistryEvent;

/// Declares a closed set, each with a word for machines and a sentence for people.
macro_rules! sentences {
    ($($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal, $text:literal;)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// Every member of the set, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word for it: short, stable, in kebab-case.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// The sentence that says it.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    )*};
}

sentences! {
    /// Why a field is kept.
    Purpose {
        /// Which ledger it is, in which order, and that nothing was changed.
        Proof = "proof", "to say which ledger it is and in which order, and to prove that nothing was changed";
        /// How the program is set up.
        Program = "program", "to run the program by the rules it set itself";
        /// Who takes part, and with whom.
        Participation = "participation", "to record who takes part in the program, and with whom";
        /// Who fits whom.
        Matching = "matching", "to find out who can teach what somebody seeks";
        /// Who taught whom what.
        Exchange = "exchange", "to record who taught whom what, and to measure reciprocity";
        /// How long it lasts.
        Retention = "retention", "to measure how long people and pairs stay, and why they stop";
        /// What it was worth.
        Value = "value", "to measure what an exchange was worth to the one who learned";
        /// Who said so.
        Accountability = "accountability", "to show who recorded or read something, through which service, and when";
        /// Once only.
        Idempotency = "idempotency", "to answer a repeated command as the first time and do it once";
        /// Access.
        Access = "access", "to decide who may do what";
        /// Contact and identification.
        Contact = "contact", "to know whom to address, and whom an id stands for";
        /// In the people's own words.
        OwnWords = "own-words", "to keep what people wrote for each other and for the manager";
        /// Erasure.
        Erasure = "erasure", "to forget a person, and to show that it was done";
        /// Recovery.
        Recovery = "recovery", "to survive a crash or a damaged disk";
    }
    /// Whether a field says something of a person.
    Personal {
        /// It says nothing of a person.
        None = "none", "says nothing of a person";
        /// It is about a person who is only named by a random id.
        Pseudonymous = "pseudonymous", "about a person named by a random id only (Art. 4(5) GDPR)";
        /// It leads to a person for whoever knows where they come from.
        Address = "address", "an address somebody comes from, which may lead to a person (recital 30 GDPR)";
        /// It is about an identified person: encrypted under a key that can be destroyed.
        Sealed = "personal-sealed", "about an identified person; encrypted, the ledger holds a salted commitment";
    }
    /// Whose data it is.
    Subject {
        /// Nobody's.
        Nobody = "nobody", "nobody";
        /// One participant's.
        Participant = "participant", "a participant";
        /// Both participants' of a pair.
        Pair = "pair", "both participants of a pair";
        /// The one's who learned, and the one's who taught.
        Learner = "learner", "the participant who learned, and the one who taught";
        /// Whoever's who calls: a participant, a manager, a service's operator.
        Caller = "caller", "who acted: a participant, or a manager or service without a name";
    }
    /// How long it is kept.
    Retention {
        /// As long as the ledger.
        Ledger = "ledger", "as long as the ledger: entries are never changed or removed";
        /// Until it is replaced or the person erased.
        UntilErased = "until-erased", "until it is replaced, or a person it is about is erased";
        /// Until the mirror holds it.
        UntilMirrored = "until-mirrored", "until the mirror holds the same entries";
        /// As long as the installation.
        Installation = "installation", "as long as the installation";
        /// Until the next start or stop.
        UntilNextStart = "until-next-start", "until the next start has shown that the copies agree";
        /// Until somebody deletes it.
        UntilDeleted = "until-deleted", "until the operator deletes it";
        /// Until a browser's session ends.
        Session = "session", "until the session ends, after 12 hours at the latest";
        /// Until it is answered.
        Answer = "answer", "until the request is answered, or the command done";
        /// While the process runs.
        WhileRunning = "while-running", "while the service runs";
    }
    /// Who may see it.
    Audience {
        /// Whoever has any token of the program.
        Program = "program", "any token of the program";
        /// Those who run and audit the program, and who it is about.
        Record = "record", "managers and auditors of the program; the participant it is about";
        /// As ratings are.
        Rating = "rating", "managers and auditors of the program; the learner; the teacher only as an aggregate over at least k learners";
        /// Those who run the installation, and its auditors.
        Registry = "registry", "admins, and auditors of the whole installation";
        /// Those who run the program, and who it is about.
        Personal = "personal", "managers of the program and the participant it is about; each read is recorded first";
        /// Those who run the program, and who wrote it; not the other it is about.
        Author = "author", "managers of the program and the participant who wrote it; each read is recorded first";
        /// Those who run the program.
        Conduct = "conduct", "managers of the program only; each read is recorded first";
        /// Everybody who reaches the service.
        Public = "public", "everybody who reaches the service";
        /// Whoever it was given to.
        Holder = "holder", "whoever holds it";
        /// The operator of the machine.
        Operator = "operator", "nobody over HTTP; the operator of the machine";
    }
}

/// How one field is handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handling {
    /// Why it is kept.
    pub purpose: Purpose,
    /// Whether it says something of a person.
    pub personal: Personal,
    /// Whose it is.
    pub subject: Subject,
    /// How long it is kept.
    pub retention: Retention,
    /// Who may see it.
    pub audience: Audience,
}

/// A field, or the fields it is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// A value.
    As(Handling),
    /// An object of these fields.
    Parts(&'static [Field]),
    /// A list of objects of these fields.
    Each(&'static [Field]),
}

/// A field as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Its name in JSON; a JSON pointer if it is sealed.
    pub name: &'static str,
    /// What it holds: the documentation of the field.
    pub what: &'static str,
    /// How it is handled.
    pub kept: Kept,
}

/// A fact with its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fact {
    /// The type, e.g. `session-logged`.
    pub name: &'static str,
    /// Its newest version.
    pub version: u32,
    /// What happened: the documentation of the fact.
    pub what: &'static str,
    /// The fields of its `data`, in the order in which they are written.
    pub fields: &'static [Field],
    /// What may be sealed beside it: named by JSON pointer.
    pub sealed: &'static [Field],
}

/// A value of one line of the record of processing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The field, with the fields it stands in: `exchanges[].teacher`.
    pub path: String,
    /// What it holds.
    pub what: String,
    /// How it is handled.
    pub handling: Handling,
}

/// The values among these fields, with what they stand in.
pub fn lines(fields: &[Field]) -> Vec<Line> {
    fn add(before: &str, fields: &[Field], lines: &mut Vec<Line>) {
        for field in fields {
            let path = format!("{before}{}", field.name);
            match field.kept {
                Kept::As(handling) => {
                    // Documentation begins with the blank behind its slashes, on each of its lines.
                    let what = field.what.split_whitespace().collect::<Vec<_>>().join(" ");
                    lines.push(Line { path, what, handling });
                }
                Kept::Parts(parts) => add(&format!("{path}."), parts, lines),
                Kept::Each(parts) => add(&format!("{path}[]."), parts, lines),
            }
        }
    }
    let mut lines = Vec::new();
    add("", fields, &mut lines);
    lines
}

/// Every fact of a program's ledger, in the order of declaration.
pub const PROGRAM: &[Fact] = Event::FACTS;

/// Every fact of the registry, in the order of declaration.
pub const REGISTRY: &[Fact] = RegistryEvent::FACTS;

/// The ways in which the fields of facts are handled. A field names one of them.
pub mod kept {
    use super::{Audience, Handling, Kept, Personal, Purpose, Retention, Subject};

    const fn in_ledger(purpose: Purpose, personal: Personal, subject: Subject, audience: Audience) -> Kept {
        Kept::As(Handling { purpose, personal, subject, retention: Retention::Ledger, audience })
    }

    const fn of_nobody(purpose: Purpose, audience: Audience) -> Kept {
        in_ledger(purpose, Personal::None, Subject::Nobody, audience)
    }

    const fn about(subject: Subject, purpose: Purpose) -> Kept {
        in_ledger(purpose, Personal::Pseudonymous, subject, Audience::Record)
    }

    const fn sealed(subject: Subject, purpose: Purpose, audience: Audience) -> Kept {
        let (personal, retention) = (Personal::Sealed, Retention::UntilErased);
        Kept::As(Handling { purpose, personal, subject, retention, audience })
    }

    /// What a ledger is and what vouches for it.
    pub const LEDGER: Kept = of_nobody(Purpose::Proof, Audience::Program);
    /// How the program is set up.
    pub const PROGRAM: Kept = of_nobody(Purpose::Program, Audience::Program);
    /// Who: one participant.
    pub const PERSON: Kept = about(Subject::Participant, Purpose::Participation);
    /// What is known of a participant for the measures: generation, unit, arm.
    pub const TRAIT: Kept = about(Subject::Participant, Purpose::Exchange);
    /// What a participant offers, seeks and has room for.
    pub const MATCHING: Kept = about(Subject::Participant, Purpose::Matching);
    /// When and why a participant left.
    pub const LEAVING: Kept = about(Subject::Participant, Purpose::Retention);
    /// Which two, and what they agreed.
    pub const PAIR: Kept = about(Subject::Pair, Purpose::Participation);
    /// What ties a proposal to a round of matching.
    pub const ROUND: Kept = about(Subject::Pair, Purpose::Matching);
    /// When and why a pair began or ended.
    pub const LASTING: Kept = about(Subject::Pair, Purpose::Retention);
    /// What took place between two.
    pub const SESSION: Kept = about(Subject::Pair, Purpose::Exchange);
    /// What one participant of a pair said of a session.
    pub const VOICE: Kept = about(Subject::Participant, Purpose::Accountability);
    /// What an exchange was worth to its learner.
    pub const RATING: Kept =
        in_ledger(Purpose::Value, Personal::Pseudonymous, Subject::Learner, Audience::Rating);
    /// Which personal data were set; not their values.
    pub const CONTACT: Kept = about(Subject::Participant, Purpose::Contact);
    /// The erasure a participant's data fell to.
    pub const ERASED: Kept = about(Subject::Participant, Purpose::Erasure);

    /// What the registry says of ledgers.
    pub const REGISTER: Kept = of_nobody(Purpose::Proof, Audience::Registry);
    /// What the registry says of tokens.
    pub const ACCESS: Kept = of_nobody(Purpose::Access, Audience::Registry);
    /// What the registry says of reads of personal data; not whose.
    pub const READ: Kept = of_nobody(Purpose::Accountability, Audience::Registry);
    /// What the registry says of who is the same human being; not who.
    pub const LINK: Kept = of_nobody(Purpose::Accountability, Audience::Registry);
    /// What the registry says of erasures; not whose.
    pub const ERASURE: Kept = of_nobody(Purpose::Erasure, Audience::Registry);

    /// What identifies a person.
    pub const SEALED_CONTACT: Kept = sealed(Subject::Participant, Purpose::Contact, Audience::Personal);
    /// What was written about a session, an exchange, a goal.
    pub const SEALED_WORDS: Kept = sealed(Subject::Pair, Purpose::OwnWords, Audience::Personal);
    /// What one wrote about two, for themselves and the manager.
    pub const SEALED_AUTHORS: Kept = sealed(Subject::Pair, Purpose::OwnWords, Audience::Author);
    /// What only the manager may know.
    pub const SEALED_CONDUCT: Kept = sealed(Subject::Pair, Purpose::OwnWords, Audience::Conduct);

    /// Who acted, and when.
    pub const ACTING: Kept =
        in_ledger(Purpose::Accountability, Personal::Pseudonymous, Subject::Caller, Audience::Record);
    /// Through which service.
    pub const SERVICE: Kept = of_nobody(Purpose::Accountability, Audience::Record);
    /// What lets a repeated command be known again.
    pub const REPEATED: Kept =
        in_ledger(Purpose::Idempotency, Personal::Pseudonymous, Subject::Caller, Audience::Record);
    /// The commitment to a sealed value.
    pub const COMMITMENT: Kept =
        in_ledger(Purpose::Proof, Personal::Sealed, Subject::Participant, Audience::Record);
}
