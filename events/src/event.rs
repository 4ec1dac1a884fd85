//! One struct per fact, in the past tense: what a program's ledger and the registry can say happened.
//! Never holds a name or free text: such fields are sealed, and only their commitments are in the entry.
//!
//! Every instant of an occurrence stands beside its civil day in the program's zone, so that no later
//! release of the time zone database changes a measure. Minutes are whole minutes. What is absent is empty.

use serde::{Deserialize, Serialize};

use crate::id::{
    B64, ErasureId, GoalId, InstallationId, LinkId, NoShowId, PairId, ParticipantId, ProgramId, ReadId,
    ReportId, RoundId, SessionId, Slug, TokenId,
};
use crate::processing::kept::{
    CONTACT, ERASED, LASTING, LEAVING, LEDGER, MATCHING, PAIR, PERSON, PROGRAM, RATING, ROUND,
    SEALED_AUTHORS, SEALED_CONDUCT, SEALED_CONTACT, SEALED_WORDS, SESSION, TRAIT, VOICE,
};
use crate::processing::{Field, Kept};
use crate::time::{Day, Timestamp, Zone};

/// Declares a closed set of words, written in kebab-case.
macro_rules! words {
    ($($(#[doc = $doc:literal])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* })*) => {$(
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $text)] $variant,)*
        }

        impl $name {
            /// Every word of the set, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word as it is written.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        // Derived, the schema would not see how a word is spelled: it reaches it through this macro.
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                let words = Self::ALL.iter().map(|word| word.as_str());
                $crate::schema::word(words, concat!($($doc, "\n"),*))
            }
        }

        impl utoipa::ToSchema for $name {}

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = UnknownWord;

            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                match text { $($text => Ok(Self::$variant),)* _ => Err(UnknownWord) }
            }
        }
    )*};
}

/// Declares what facts are made of: a struct each, and how each of its fields is handled.
macro_rules! parts {
    ($(
        $(#[doc = $doc:literal])+
        $name:ident {
            $($(#[doc = $what:literal])+ $field:ident: $field_type:ty => $kept:expr,)*
        }
    )*) => {$(
        $(#[doc = $doc])+
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($(#[doc = $what])+ pub $field: $field_type,)*
        }

        impl $name {
            /// Its fields, in the order in which they are written.
            pub const FIELDS: &'static [Field] =
                &[$(Field { name: stringify!($field), what: concat!($($what,)+), kept: $kept },)*];
        }
    )*};
}

/// The text is not a word of the closed set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a word of this closed set")]
pub struct UnknownWord;

words! {
    /// Whether sessions must be confirmed by the other party to count as more than logged.
    Confirmation {
        /// The other party is asked to confirm.
        Required = "required",
        /// Confirmation is welcome but not asked for.
        Optional = "optional",
    }
    /// Which skills may be named.
    Skills {
        /// Any slug.
        Open = "open",
        /// Only skills defined and not retired.
        Listed = "listed",
    }
    /// The arm of the study a participant is in.
    Arm {
        /// Takes part in the mentoring.
        Program = "program",
        /// Is only observed, for comparison; is never paired.
        Comparison = "comparison",
    }
    /// How a session was held.
    Mode {
        /// In one place.
        InPerson = "in-person",
        /// By video call.
        Video = "video",
        /// By telephone.
        Phone = "phone",
        /// In writing.
        Chat = "chat",
        /// More than one of these.
        Mixed = "mixed",
        /// Not recorded; the default of imported sessions.
        Unspecified = "unspecified",
    }
    /// Where a record comes from, when it was not recorded as it happened.
    Origin {
        /// Taken over from an older system or a file.
        Imported = "imported",
    }
    /// Why a participant's departure from the organisation was recorded.
    DepartureReason {
        /// The participant resigned.
        Voluntary = "voluntary",
        /// The organisation ended the employment.
        Involuntary = "involuntary",
        /// The participant retired.
        Retired = "retired",
        /// Anything else.
        Other = "other",
    }
    /// Who was missing at an agreed session.
    Absent {
        /// Only the first participant of the pair.
        A = "a",
        /// Only the second participant of the pair.
        B = "b",
        /// Both.
        Both = "both",
    }
    /// What a proposal that can no longer be accepted fell to.
    Invalidation {
        /// A party left the program.
        ParticipantLeft = "participant-left",
        /// A party left the organisation.
        ParticipantDeparted = "participant-departed",
        /// A party's personal data were erased.
        ParticipantErased = "participant-erased",
        /// A party was moved to the comparison arm.
        ArmChanged = "arm-changed",
        /// One party blocked the other.
        PairingBlocked = "pairing-blocked",
        /// The program closed.
        ProgramClosed = "program-closed",
    }
    /// Why a pair ended.
    EndReason {
        /// The goals were met.
        GoalsMet = "goals-met",
        /// The agreed term was completed.
        TermCompleted = "term-completed",
        /// The two go on as peers.
        RedefinedAsPeers = "redefined-as-peers",
        /// No time.
        TimeConstraints = "time-constraints",
        /// The two lost contact.
        LostContact = "lost-contact",
        /// Values did not match.
        MismatchValues = "mismatch-values",
        /// Skills did not match.
        MismatchSkills = "mismatch-skills",
        /// One withdrew inwardly.
        Distancing = "distancing",
        /// Expertise was missing.
        LackOfExpertise = "lack-of-expertise",
        /// Both found it did not fit.
        MutualNoFit = "mutual-no-fit",
        /// The reason is not shown; a true one may be sealed.
        Withheld = "withheld",
        /// Another role or another place.
        RoleOrLocationChange = "role-or-location-change",
        /// A party left the program.
        LeftProgram = "left-program",
        /// A party left the organisation.
        LeftOrganisation = "left-organisation",
        /// The program was closed or archived.
        ProgramClosed = "program-closed",
        /// The manager decided.
        ManagerDecision = "manager-decision",
        /// A party's personal data were erased.
        DataErasure = "data-erasure",
        /// The pair should never have been recorded.
        EnteredInError = "entered-in-error",
    }
    /// Class of an end reason, for competing risks.
    EndClass {
        /// Cause 1.
        Planned = "planned",
        /// Cause 2.
        EarlyVoluntary = "early-voluntary",
        /// Cause 3.
        EarlyExternal = "early-external",
        /// Censored: the end says nothing about the pair.
        Administrative = "administrative",
        /// Removed from every measure.
        EnteredInError = "entered-in-error",
    }
    /// A field of personal data that is sealed, never written.
    PersonalField {
        /// The name.
        Name = "name",
        /// The e-mail address.
        Email = "email",
        /// The number in the organisation's personnel system.
        HrId = "hr-id",
        /// The year of birth.
        BirthYear = "birth-year",
    }
    /// A field that is sealed, of whatever fact.
    SealedField {
        /// A participant's name.
        Name = "name",
        /// A participant's e-mail address.
        Email = "email",
        /// A participant's number in the organisation's personnel system.
        HrId = "hr-id",
        /// A participant's year of birth.
        BirthYear = "birth-year",
        /// The note of a session.
        Note = "note",
        /// The comment of a rating.
        Comment = "comment",
        /// The reason of a block or of a dispute.
        Reason = "reason",
        /// The true reason behind an end whose reason is withheld.
        Conduct = "conduct",
        /// The text of a goal.
        GoalText = "goal-text",
    }
    /// What a token allows.
    Role {
        /// Posts commands.
        Service = "service",
        /// Replays and verifies.
        Auditor = "auditor",
        /// Sees suppressed figures.
        Viewer = "viewer",
        /// Runs a program.
        Manager = "manager",
        /// Reads `/metrics`.
        Scraper = "scraper",
        /// Runs the installation.
        Admin = "admin",
    }
}

impl From<PersonalField> for SealedField {
    fn from(field: PersonalField) -> Self {
        match field {
            PersonalField::Name => Self::Name,
            PersonalField::Email => Self::Email,
            PersonalField::HrId => Self::HrId,
            PersonalField::BirthYear => Self::BirthYear,
        }
    }
}

impl PersonalField {
    /// Where its commitment stands in `personal-set`: a JSON pointer.
    pub const fn pointer(self) -> &'static str {
        match self {
            Self::Name => "/name",
            Self::Email => "/email",
            Self::HrId => "/hr-id",
            Self::BirthYear => "/birth-year",
        }
    }
}

impl EndReason {
    /// The class of the reason.
    pub const fn class(self) -> EndClass {
        match self {
            Self::GoalsMet | Self::TermCompleted | Self::RedefinedAsPeers => EndClass::Planned,
            Self::TimeConstraints
            | Self::LostContact
            | Self::MismatchValues
            | Self::MismatchSkills
            | Self::Distancing
            | Self::LackOfExpertise
            | Self::MutualNoFit
            | Self::Withheld => EndClass::EarlyVoluntary,
            Self::RoleOrLocationChange | Self::LeftProgram | Self::LeftOrganisation => {
                EndClass::EarlyExternal
            }
            Self::ProgramClosed | Self::ManagerDecision | Self::DataErasure => EndClass::Administrative,
            Self::EnteredInError => EndClass::EnteredInError,
        }
    }
}

parts! {
    /// The rules in force from the event's position on.
    RulePolicy {
        /// Most open pairs (active or paused) of a participant who set no capacity of their own.
        capacity: u16 => PROGRAM,
        /// Days a proposal waits for its answers.
        proposal_ttl_days: u16 => PROGRAM,
        /// Days a pair is agreed for.
        term_days: u16 => PROGRAM,
        /// Days a session, end, leave or departure may lie back when it is recorded.
        backdating_days: u16 => PROGRAM,
        /// Longest session, in minutes.
        max_session_minutes: u16 => PROGRAM,
        /// Whether sessions are to be confirmed.
        confirmation: Confirmation => PROGRAM,
        /// Days after a session in which its exchanges may be rated.
        rating_window_days: u16 => PROGRAM,
        /// Which skills may be named.
        skills: Skills => PROGRAM,
    }
}

impl Default for RulePolicy {
    fn default() -> Self {
        Self {
            capacity: 3,
            proposal_ttl_days: 14,
            term_days: 180,
            backdating_days: 30,
            max_session_minutes: 480,
            confirmation: Confirmation::Optional,
            rating_window_days: 90,
            skills: Skills::Open,
        }
    }
}

parts! {
    /// A generation: the people born from the first to the last of these years.
    Band {
        /// Name of the band.
        name: Slug => PROGRAM,
        /// First year of birth.
        from: u16 => PROGRAM,
        /// Last year of birth.
        to: u16 => PROGRAM,
    }
}

parts! {
    /// What the measures go by: the version in force at the figure's date, applied to the whole history.
    MeasurePolicy {
        /// Generations, oldest first. `unknown` is always there and is not listed.
        bands: Vec<Band> => Kept::Each(Band::FIELDS),
        /// Days without a session after which an active pair is stalled.
        stall_after_days: u16 => PROGRAM,
        /// Days without a session after which a spell of activity has ended.
        lapse_after_days: u16 => PROGRAM,
        /// Fewest people a figure shown to outsiders may rest on.
        k_anonymity: u16 => PROGRAM,
    }
}

impl Default for MeasurePolicy {
    /// Pew Research Center's generations, and the design's periods.
    fn default() -> Self {
        let band = |name: &str, from, to| Band { name: name.parse().expect("a slug"), from, to };
        Self {
            bands: vec![
                band("silent", 1928, 1945),
                band("boomer", 1946, 1964),
                band("gen-x", 1965, 1980),
                band("millennial", 1981, 1996),
                band("gen-z", 1997, 2012),
            ],
            stall_after_days: 45,
            lapse_after_days: 90,
            k_anonymity: 5,
        }
    }
}

parts! {
    /// One directed act inside a session: `teacher` taught the other of the pair `skill` for `minutes`.
    Exchange {
        /// Who taught. The learner is the other of the pair.
        teacher: ParticipantId => SESSION,
        /// What was taught.
        skill: Slug => SESSION,
        /// For how many minutes.
        minutes: u16 => SESSION,
    }
}

/// Declares the facts of one kind of ledger: a struct each, the enum of all, and their place in the shapes table.
/// `older { 1 => frozen::Type }` names shapes of earlier releases that are read and turned into today's.
/// `=> KEPT` says how a field is handled (see [`crate::processing`]), `sealed { .. }` what may be sealed beside it.
macro_rules! facts {
    (
        $(#[$enum_doc:meta])* enum $enum:ident;
        $(
            $(#[doc = $doc:literal])+
            $name:ident = $text:literal v $version:literal $(older { $($old_version:literal => $old:ty),* $(,)? })? {
                $(
                    $(#[doc = $what:literal])+ $(#[serde($($serde:tt)*)])?
                    $field:ident: $field_type:ty => $kept:expr,
                )*
            }
            $(sealed { $($(#[doc = $sealed_what:literal])+ $pointer:literal => $sealed_kept:expr,)+ })?
        )*
    ) => {
        $(
            $(#[doc = $doc])+
            #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
            #[serde(deny_unknown_fields)]
            pub struct $name {
                $($(#[doc = $what])+ $(#[serde($($serde)*)])? pub $field: $field_type,)*
            }

            impl From<$name> for $enum {
                fn from(fact: $name) -> Self {
                    Self::$name(fact)
                }
            }

            impl $name {
                /// Reads the fact in the spelling in which it is written, and what stands behind it. `None`:
                /// it may be spelled otherwise.
                fn canonical(bytes: &[u8]) -> Option<(Self, &[u8])> {
                    #[allow(unused_mut, reason = "some facts have no fields")]
                    let mut fields = $crate::canonical::Fields::of(bytes)?;
                    $(let $field: $field_type = $crate::canonical::Canonical::field(
                        &mut fields,
                        concat!("\"", stringify!($field), "\":"),
                    )?;)*
                    Some((Self { $($field,)* }, fields.end()?))
                }
            }
        )*

        $(#[$enum_doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[allow(missing_docs, reason = "each variant is documented at its struct")]
        pub enum $enum {
            $($name($name),)*
        }

        #[cfg(test)]
        impl $enum {
            /// Reads data of the newest version by each of the two readers.
            #[allow(clippy::type_complexity, dead_code, reason = "one test asks for both at once")]
            pub(crate) fn both_ways(
                name: &str,
                bytes: &[u8],
            ) -> Option<(Option<(Self, usize)>, Result<(Self, usize), $crate::entry::ReadError>)> {
                match name {
                    $($text => Some((
                        $name::canonical(bytes).map(|(fact, rest)| (fact.into(), bytes.len() - rest.len())),
                        $crate::entry::read_data::<$name>(bytes).map(|(fact, length)| (fact.into(), length)),
                    )),)*
                    _ => None,
                }
            }
        }

        impl $crate::entry::Facts for $enum {
            const SHAPES: &'static [$crate::history::Shape] = &[
                $($($($crate::history::Shape { name: $text, version: $old_version },)*)?
                $crate::history::Shape { name: $text, version: $version },)*
            ];

            const FACTS: &'static [$crate::processing::Fact] = &[$($crate::processing::Fact {
                name: $text,
                version: $version,
                what: concat!($($doc,)+),
                fields: &[$($crate::processing::Field {
                    name: stringify!($field),
                    what: concat!($($what,)+),
                    kept: $kept,
                },)*],
                sealed: &[$($($crate::processing::Field {
                    name: $pointer,
                    what: concat!($($sealed_what,)+),
                    kept: $sealed_kept,
                },)+)?],
            },)*];

            fn shape(&self) -> $crate::history::Shape {
                match self {
                    $(Self::$name(_) => $crate::history::Shape { name: $text, version: $version },)*
                }
            }

            fn write(&self, out: &mut Vec<u8>) {
                let written = match self {
                    $(Self::$name(fact) => serde_json::to_writer(out, fact),)*
                };
                written.expect("writing to memory cannot fail and every key is a string");
            }

            fn read(name: &str, version: u32, bytes: &[u8]) -> Result<(Self, usize), $crate::entry::ReadError> {
                match (name, version) {
                    $(
                        $($(($text, $old_version) => {
                            $crate::entry::read_data::<$old>(bytes).map(|(old, length)| (<$name>::from(old).into(), length))
                        })*)?
                        ($text, $version) => $name::canonical(bytes).map_or_else(
                            || $crate::entry::read_data::<$name>(bytes).map(|(fact, length)| (fact.into(), length)),
                            |(fact, rest)| Ok((fact.into(), bytes.len() - rest.len())),
                        ),
                        ($text, _) => Err($crate::entry::ReadError::UnknownVersion {
                            name: $text, version, newest: $version,
                        }),
                    )*
                    _ => Err($crate::entry::ReadError::UnknownType { name: name.to_owned() }),
                }
            }
        }
    };
}

facts! {
    /// A fact of a program's ledger.
    enum Event;

    /// Entry 0 of a program's ledger: fixes what holds for all of it.
    ProgramOpened = "program-opened" v 1 {
        /// The program.
        program: ProgramId => LEDGER,
        /// `<installation>/<program uuid>/<generation>`: the name the ledger's checkpoints carry.
        origin: String => LEDGER,
        /// Version of the envelope of every entry of this ledger.
        envelope: u16 => LEDGER,
        /// Name of the program in paths.
        slug: Slug => PROGRAM,
        /// Name of the program for people, 1 to 80 characters without control characters.
        name: String => PROGRAM,
        /// Civil days are days in this zone.
        time_zone: Zone => PROGRAM,
        /// The rules from here on.
        rules: RulePolicy => Kept::Parts(RulePolicy::FIELDS),
        /// What the measures go by.
        measures: MeasurePolicy => Kept::Parts(MeasurePolicy::FIELDS),
    }

    /// The policy changed: rules from here on, measures for the whole history seen from here on.
    PolicyChanged = "policy-changed" v 1 {
        /// All rules as they now are; absent when unchanged.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rules: Option<RulePolicy> => Kept::Parts(RulePolicy::FIELDS),
        /// All of the measure policy as it now is; absent when unchanged.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        measures: Option<MeasurePolicy> => Kept::Parts(MeasurePolicy::FIELDS),
    }

    /// No more enrolments and proposals.
    ProgramClosed = "program-closed" v 1 {}

    /// Nothing more happens in the program.
    ProgramArchived = "program-archived" v 1 {}

    /// A skill joined the list.
    SkillDefined = "skill-defined" v 1 {
        /// The skill.
        skill: Slug => PROGRAM,
    }

    /// A skill left the list.
    SkillRetired = "skill-retired" v 1 {
        /// The skill.
        skill: Slug => PROGRAM,
    }

    /// A person joined.
    ParticipantEnrolled = "participant-enrolled" v 1 {
        /// The participant.
        participant: ParticipantId => PERSON,
        /// The arm.
        arm: Arm => TRAIT,
        /// A band of the measure policy, or `unknown`.
        generation: Slug => TRAIT,
        /// Skills offered, in ascending order.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        offered: Vec<Slug> => MATCHING,
        /// Skills sought, in ascending order.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        sought: Vec<Slug> => MATCHING,
        /// Part of the organisation.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unit: Option<Slug> => TRAIT,
        /// Most open pairs, when not the policy's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        capacity: Option<u16> => MATCHING,
        /// Set when taken over from elsewhere.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        origin: Option<Origin> => PERSON,
    }

    /// What enrolment said was wrong; this is right, and was right all along.
    ParticipantCorrected = "participant-corrected" v 1 {
        /// The participant.
        participant: ParticipantId => PERSON,
        /// The right band.
        generation: Slug => TRAIT,
        /// The right unit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unit: Option<Slug> => TRAIT,
    }

    /// A participant changed arms.
    ArmChanged = "arm-changed" v 1 {
        /// The participant.
        participant: ParticipantId => PERSON,
        /// The arm from here on.
        arm: Arm => TRAIT,
    }

    /// The skills a participant offers and seeks, from here on.
    SkillsUpdated = "skills-updated" v 1 {
        /// The participant.
        participant: ParticipantId => PERSON,
        /// All skills offered, in ascending order.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        offered: Vec<Slug> => MATCHING,
        /// All skills sought, in ascending order.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        sought: Vec<Slug> => MATCHING,
    }

    /// A participant's own limit of open pairs.
    CapacitySet = "capacity-set" v 1 {
        /// The participant.
        participant: ParticipantId => PERSON,
        /// Most open pairs; absent: the policy's again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        capacity: Option<u16> => MATCHING,
    }

    /// A participant takes a break: no new proposals, pairs go on.
    BreakTaken = "break-taken" v 1 {
        /// The participant.
        participant: ParticipantId => PERSON,
    }

    /// A participant is back from a break.
    BreakEnded = "break-ended" v 1 {
        /// The participant.
        participant: ParticipantId => PERSON,
    }

    /// A participant left the program.
    ParticipantLeft = "participant-left" v 1 {
        /// The participant.
        participant: ParticipantId => PERSON,
        /// When.
        occurred_at: Timestamp => LEAVING,
        /// The civil day of it.
        day: Day => LEAVING,
    }

    /// A participant left the organisation.
    ParticipantDeparted = "participant-departed" v 1 {
        /// The participant.
        participant: ParticipantId => PERSON,
        /// Why.
        reason: DepartureReason => LEAVING,
        /// When.
        occurred_at: Timestamp => LEAVING,
        /// The civil day of it.
        day: Day => LEAVING,
    }

    /// A participant who had left the organisation came back, enrolled.
    ParticipantReturned = "participant-returned" v 1 {
        /// The participant.
        participant: ParticipantId => PERSON,
    }

    /// The two are not to be paired. A reason may be sealed at `/reason`.
    PairingBlocked = "pairing-blocked" v 1 {
        /// Who blocks.
        participant: ParticipantId => PERSON,
        /// Who is blocked.
        other: ParticipantId => PERSON,
    } sealed {
        /// Why, in their own words.
        "/reason" => SEALED_AUTHORS,
    }

    /// The block is lifted.
    PairingUnblocked = "pairing-unblocked" v 1 {
        /// Who had blocked.
        participant: ParticipantId => PERSON,
        /// Who had been blocked.
        other: ParticipantId => PERSON,
    }

    /// Personal data were sealed, each field's commitment at `/<field>`, or removed.
    PersonalSet = "personal-set" v 2 older { 1 => crate::history::PersonalSetV1 } {
        /// The participant.
        participant: ParticipantId => PERSON,
        /// The fields that were sealed, in ascending order. What was sealed of them before can no longer be opened.
        fields: Vec<PersonalField> => CONTACT,
        /// The fields that were removed, in ascending order: what was sealed of them can no longer be opened.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        removed: Vec<PersonalField> => CONTACT,
    } sealed {
        /// The name.
        "/name" => SEALED_CONTACT,
        /// The e-mail address.
        "/email" => SEALED_CONTACT,
        /// The number in the organisation's personnel system.
        "/hr-id" => SEALED_CONTACT,
        /// The year of birth.
        "/birth-year" => SEALED_CONTACT,
    }

    /// A person's sealed data can no longer be opened by anybody.
    PersonErased = "person-erased" v 1 {
        /// The participant.
        participant: ParticipantId => PERSON,
        /// The erasure in the registry.
        erasure: ErasureId => ERASED,
    }

    /// A round of proposals was made; its proposals and refusals follow.
    RoundProposed = "round-proposed" v 1 {
        /// The round.
        round: RoundId => PROGRAM,
        /// How many pairs were proposed.
        proposed: u32 => PROGRAM,
        /// How many were refused.
        refused: u32 => PROGRAM,
    }

    /// A pair of a round was not proposed.
    RoundPairRefused = "round-pair-refused" v 1 {
        /// The round.
        round: RoundId => ROUND,
        /// One participant.
        a: ParticipantId => ROUND,
        /// The other.
        b: ParticipantId => ROUND,
        /// The code of the refusal.
        code: Slug => ROUND,
    }

    /// A pair was proposed.
    PairProposed = "pair-proposed" v 1 {
        /// The pair.
        pair: PairId => PAIR,
        /// The lesser of the two ids.
        a: ParticipantId => PAIR,
        /// The greater of the two ids.
        b: ParticipantId => PAIR,
        /// The party who proposed and so has said yes; absent when the manager did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        proposer: Option<ParticipantId> => PAIR,
        /// Acceptances from here on are refused.
        expires_at: Timestamp => PAIR,
        /// The civil day of it.
        expires_day: Day => PAIR,
        /// The round it belongs to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        round: Option<RoundId> => ROUND,
        /// The weight it had in the round.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        weight: Option<u32> => ROUND,
    }

    /// A party said yes.
    PairAccepted = "pair-accepted" v 1 {
        /// The pair.
        pair: PairId => PAIR,
        /// Who said yes.
        participant: ParticipantId => PAIR,
    }

    /// All said yes: the pair is active.
    PairActivated = "pair-activated" v 1 {
        /// The pair.
        pair: PairId => PAIR,
        /// The last day of the agreed term.
        term_ends_day: Day => PAIR,
    }

    /// A party said no.
    PairDeclined = "pair-declined" v 1 {
        /// The pair.
        pair: PairId => PAIR,
        /// Who said no.
        participant: ParticipantId => PAIR,
    }

    /// The proposal was taken back.
    ProposalWithdrawn = "proposal-withdrawn" v 1 {
        /// The pair.
        pair: PairId => PAIR,
    }

    /// The proposal waited too long.
    ProposalExpired = "proposal-expired" v 1 {
        /// The pair.
        pair: PairId => PAIR,
    }

    /// The proposal fell to something else that happened.
    ProposalInvalidated = "proposal-invalidated" v 1 {
        /// The pair.
        pair: PairId => PAIR,
        /// To what.
        cause: Invalidation => PAIR,
    }

    /// A pair taken over from elsewhere, active from its earliest session on.
    PairImported = "pair-imported" v 1 {
        /// The pair.
        pair: PairId => PAIR,
        /// The lesser of the two ids.
        a: ParticipantId => PAIR,
        /// The greater of the two ids.
        b: ParticipantId => PAIR,
        /// The earliest instant known of the pair when it was imported; earlier sessions move it back.
        started_at: Timestamp => LASTING,
        /// The civil day of it.
        started_day: Day => LASTING,
        /// Always `imported`.
        origin: Origin => PAIR,
    }

    /// The pair pauses.
    PairPaused = "pair-paused" v 1 {
        /// The pair.
        pair: PairId => PAIR,
    }

    /// The pair goes on.
    PairResumed = "pair-resumed" v 1 {
        /// The pair.
        pair: PairId => PAIR,
    }

    /// The agreed term was extended.
    PairExtended = "pair-extended" v 1 {
        /// The pair.
        pair: PairId => PAIR,
        /// The last day of the agreed term.
        term_ends_day: Day => PAIR,
    }

    /// The pair ended. A true reason behind `withheld` may be sealed at `/conduct`.
    PairEnded = "pair-ended" v 1 {
        /// The pair.
        pair: PairId => PAIR,
        /// Why.
        reason: EndReason => LASTING,
        /// When.
        occurred_at: Timestamp => LASTING,
        /// The civil day of it.
        day: Day => LASTING,
    } sealed {
        /// The true reason behind `withheld`.
        "/conduct" => SEALED_CONDUCT,
    }

    /// A learner set a goal. Its text may be sealed at `/text`.
    GoalSet = "goal-set" v 1 {
        /// The goal.
        goal: GoalId => SESSION,
        /// The pair.
        pair: PairId => SESSION,
        /// Whose goal it is.
        learner: ParticipantId => SESSION,
        /// What is to be learned.
        skill: Slug => SESSION,
    } sealed {
        /// What is to be reached, in their own words.
        "/text" => SEALED_WORDS,
    }

    /// The goal was reached.
    GoalCompleted = "goal-completed" v 1 {
        /// The goal.
        goal: GoalId => SESSION,
    }

    /// The goal was given up.
    GoalAbandoned = "goal-abandoned" v 1 {
        /// The goal.
        goal: GoalId => SESSION,
    }

    /// A session took place. A note may be sealed at `/note`.
    SessionLogged = "session-logged" v 1 {
        /// The session.
        session: SessionId => SESSION,
        /// The pair.
        pair: PairId => SESSION,
        /// When it began.
        occurred_at: Timestamp => SESSION,
        /// The civil day of it.
        day: Day => SESSION,
        /// How long it was.
        minutes: u16 => SESSION,
        /// How it was held.
        mode: Mode => SESSION,
        /// Who taught what, at least one; at most one of each (teacher, skill).
        exchanges: Vec<Exchange> => Kept::Each(Exchange::FIELDS),
        /// Set when taken over from elsewhere.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        origin: Option<Origin> => SESSION,
    } sealed {
        /// A note about the session.
        "/note" => SEALED_WORDS,
    }

    /// The other party said that this version of the session is right.
    SessionConfirmed = "session-confirmed" v 1 {
        /// The session.
        session: SessionId => SESSION,
        /// The version, from 1.
        version: u32 => SESSION,
        /// Who confirmed.
        participant: ParticipantId => VOICE,
    }

    /// A party said that this version of the session is wrong. A reason may be sealed at `/reason`.
    SessionDisputed = "session-disputed" v 1 {
        /// The session.
        session: SessionId => SESSION,
        /// The version, from 1.
        version: u32 => SESSION,
        /// Who disputed; absent when the manager did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        participant: Option<ParticipantId> => VOICE,
    } sealed {
        /// What is wrong, in their own words.
        "/reason" => SEALED_AUTHORS,
    }

    /// The session was not as recorded; it was so. Confirmation and the ratings of dropped exchanges lapse.
    SessionCorrected = "session-corrected" v 1 {
        /// The session.
        session: SessionId => SESSION,
        /// The version from here on, one more than before.
        version: u32 => SESSION,
        /// When it began.
        occurred_at: Timestamp => SESSION,
        /// The civil day of it.
        day: Day => SESSION,
        /// How long it was.
        minutes: u16 => SESSION,
        /// How it was held.
        mode: Mode => SESSION,
        /// Who taught what.
        exchanges: Vec<Exchange> => Kept::Each(Exchange::FIELDS),
    } sealed {
        /// A note about the session.
        "/note" => SEALED_WORDS,
    }

    /// The session did not take place or should not have been recorded.
    SessionVoided = "session-voided" v 1 {
        /// The session.
        session: SessionId => SESSION,
    }

    /// The dispute ended and the session stands as recorded.
    DisputeResolved = "dispute-resolved" v 1 {
        /// The session.
        session: SessionId => SESSION,
        /// The version that stands.
        version: u32 => SESSION,
    }

    /// An agreed session did not take place because somebody was missing.
    NoShowRecorded = "no-show-recorded" v 1 {
        /// The no-show.
        no_show: NoShowId => SESSION,
        /// The pair.
        pair: PairId => SESSION,
        /// Who was missing.
        absent: Absent => SESSION,
        /// When the session should have begun.
        occurred_at: Timestamp => SESSION,
        /// The civil day of it.
        day: Day => SESSION,
    }

    /// A learner said what an exchange was worth to them. A comment may be sealed at `/comment`.
    ExchangeRated = "exchange-rated" v 1 {
        /// The session.
        session: SessionId => RATING,
        /// Who taught.
        teacher: ParticipantId => RATING,
        /// What was taught.
        skill: Slug => RATING,
        /// 1 to 5.
        rating: u8 => RATING,
        /// Set when taken over from elsewhere.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        origin: Option<Origin> => RATING,
    } sealed {
        /// A comment of the learner.
        "/comment" => SEALED_AUTHORS,
    }

    /// A learner changed their rating. A comment may be sealed at `/comment`.
    RatingRevised = "rating-revised" v 1 {
        /// The session.
        session: SessionId => RATING,
        /// Who taught.
        teacher: ParticipantId => RATING,
        /// What was taught.
        skill: Slug => RATING,
        /// 1 to 5.
        rating: u8 => RATING,
    } sealed {
        /// A comment of the learner.
        "/comment" => SEALED_AUTHORS,
    }
}

/// The facts of the registry, the installation's own ledger. It never names a person.
pub mod registry {
    use super::{
        B64, Deserialize, ErasureId, InstallationId, LinkId, ProgramId, ReadId, ReportId, Role, Serialize,
        Slug,
    };
    use super::{SealedField, Timestamp, TokenId};
    use crate::processing::kept::{ACCESS, ERASURE, LINK, READ, REGISTER};

    facts! {
        /// A fact of the registry.
        enum RegistryEvent;

        /// Entry 0 of the registry.
        RegistryOpened = "registry-opened" v 1 {
            /// The installation.
            installation: InstallationId => REGISTER,
            /// `<installation>/registry/<generation>`.
            origin: String => REGISTER,
            /// Version of the envelope of every entry of this ledger.
            envelope: u16 => REGISTER,
            /// Number of the registry's signing key.
            key_number: u32 => REGISTER,
            /// Ed25519 public key of the registry.
            public_key: B64<32> => REGISTER,
        }

        /// A program is about to be opened. What follows: its ledger's entry 0, then `ledger-opened`.
        ProgramOpening = "program-opening" v 1 {
            /// The program.
            program: ProgramId => REGISTER,
            /// Its name in paths, taken from here on.
            slug: Slug => REGISTER,
            /// The origin its ledger will have.
            origin: String => REGISTER,
        }

        /// A program's ledger has its first entry.
        LedgerOpened = "ledger-opened" v 1 {
            /// The program.
            program: ProgramId => REGISTER,
            /// Its origin.
            origin: String => REGISTER,
            /// Number of its signing key.
            key_number: u32 => REGISTER,
            /// Ed25519 public key of the ledger.
            public_key: B64<32> => REGISTER,
        }

        /// The program was not opened after all; its slug is free again.
        OpeningAbandoned = "opening-abandoned" v 1 {
            /// The program.
            program: ProgramId => REGISTER,
        }

        /// How far a ledger had grown.
        LedgerHead = "ledger-head" v 1 {
            /// The ledger's origin.
            origin: String => REGISTER,
            /// Number of entries.
            size: u64 => REGISTER,
            /// RFC 6962 root at that size.
            root: B64<32> => REGISTER,
        }

        /// A ledger signs with another key from here on.
        KeyRotated = "key-rotated" v 1 {
            /// The ledger's origin.
            origin: String => REGISTER,
            /// Number of the new key.
            key_number: u32 => REGISTER,
            /// The new Ed25519 public key.
            public_key: B64<32> => REGISTER,
            /// Signature of the old key over the statement of rotation.
            signature: B64<64> => REGISTER,
        }

        /// A report is about to be published.
        ReportPublishing = "report-publishing" v 1 {
            /// The report.
            report: ReportId => REGISTER,
            /// Origin of the ledger it is about.
            origin: String => REGISTER,
            /// Size of the ledger it rests on.
            size: u64 => REGISTER,
        }

        /// A report was published.
        ReportPublished = "report-published" v 1 {
            /// The report.
            report: ReportId => REGISTER,
            /// SHA-256 of its signed body.
            digest: B64<32> => REGISTER,
        }

        /// A token was issued.
        TokenIssued = "token-issued" v 1 {
            /// The token.
            token: TokenId => ACCESS,
            /// The service principal it stands for.
            principal: String => ACCESS,
            /// What it allows.
            role: Role => ACCESS,
            /// Where; absent: everywhere.
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            programs: Vec<ProgramId> => ACCESS,
            /// Until when.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            expires_at: Option<Timestamp> => ACCESS,
        }

        /// A token was revoked.
        TokenRevoked = "token-revoked" v 1 {
            /// The token.
            token: TokenId => ACCESS,
        }

        /// Personal data are about to be read. Whose is not said here.
        PersonalRead = "personal-read" v 2 older { 1 => crate::history::PersonalReadV1 } {
            /// The read.
            read: ReadId => READ,
            /// In which program.
            program: ProgramId => READ,
            /// Which fields, each once, in ascending order.
            fields: Vec<SealedField> => READ,
        }

        /// Somebody says that two participants are one human being: erasing one erases the other. Which is not said here.
        PeopleJoined = "people-joined" v 1 {
            /// The statement. Which participants it is of is sealed in the people store, as long as none is erased.
            link: LinkId => LINK,
        }

        /// Somebody says that a participant is a human being of their own. Which is not said here.
        PeopleParted = "people-parted" v 1 {
            /// The statement. Which participant it is of is sealed in the people store, as long as they are not erased.
            link: LinkId => LINK,
        }

        /// A person is about to be erased. Who is not said here.
        ErasureRequested = "erasure-requested" v 1 {
            /// The erasure.
            erasure: ErasureId => ERASURE,
        }

        /// The erasure is complete in every ledger it concerned.
        ErasureCompleted = "erasure-completed" v 1 {
            /// The erasure.
            erasure: ErasureId => ERASURE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Facts, ReadError};

    /// As it was written before distances were recorded in metres.
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct MovedV1 {
        kilometres: u32,
    }

    impl From<MovedV1> for Moved {
        fn from(old: MovedV1) -> Self {
            Self { metres: old.kilometres * 1000 }
        }
    }

    facts! {
        /// A set of facts with a history, to try the table on.
        enum Toy;

        /// Something moved.
        Moved = "moved" v 2 older { 1 => MovedV1 } {
            /// How far.
            metres: u32 => PROGRAM,
        }
    }

    #[test]
    fn an_old_shape_is_read_as_todays_and_only_todays_is_written() {
        let today = Toy::Moved(Moved { metres: 3000 });
        assert_eq!(Toy::read("moved", 1, br#"{"kilometres":3}"#), Ok((today.clone(), 16)));
        assert_eq!(Toy::read("moved", 2, br#"{"metres":3000}}"#), Ok((today.clone(), 15)));
        assert_eq!(
            Toy::read("moved", 3, b"{}"),
            Err(ReadError::UnknownVersion { name: "moved", version: 3, newest: 2 })
        );
        let mut written = Vec::new();
        today.write(&mut written);
        assert_eq!(written, br#"{"metres":3000}"#);
        assert_eq!(Toy::SHAPES.iter().map(|shape| shape.version).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn every_word_reads_back_and_every_end_reason_has_its_class() {
        for reason in EndReason::ALL {
            assert_eq!(reason.as_str().parse(), Ok(*reason));
            assert_eq!(serde_json::to_string(reason).unwrap(), format!("\"{reason}\""));
        }
        let of = |class| EndReason::ALL.iter().filter(|reason| reason.class() == class).count();
        assert_eq!(EndClass::ALL.iter().map(|class| of(*class)).collect::<Vec<_>>(), [3, 8, 3, 3, 1]);
    }
}
