//! One plain struct per command, and the one table they stand in.
//! Never judges a value: what can be read here may still be refused by the rules.
//!
//! Bodies are JSON objects, also inside lists: an array in place of an object, an unknown field, a field twice or
//! a wrong type is malformed. `null` is the same as an absent optional field, unless said otherwise.
//! Fields of personal data are [`Personal`]: sealed, never written, and never shown by anything that shows a command.

#![allow(
    unused_qualifications,
    reason = "in what the derived schema of `Personal` makes of its type parameter"
)]

use std::borrow::Cow;
use std::fmt;

use mentorlog_events::entry::Actor;
use mentorlog_events::event::{
    Arm, Band, Confirmation, DepartureReason, EndReason, Mode, PersonalField, Skills,
};
use mentorlog_events::id::{
    GoalId, NoShowId, PairId, ParticipantId, ProgramId, RoundId, SessionId, Slug, parse_uuid,
};
use mentorlog_events::time::{Day, Timestamp, Zone};
use serde::de::value::{BorrowedStrDeserializer, MapAccessDeserializer};
use serde::de::{DeserializeOwned, DeserializeSeed, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
use utoipa::{PartialSchema, ToSchema};
use uuid::Uuid;

/// The bytes are not a command. Nothing was decided.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// No command has this name.
    #[error("there is no command of this name")]
    UnknownCommand,
    /// The body is not the command's JSON object.
    #[error("the body is not this command's JSON object: {0}")]
    Malformed(serde_json::Error),
}

/// A value that is to be sealed: read and written as what it is, and never shown, not even in an error.
#[derive(Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(transparent)]
pub struct Personal<T>(pub T);

impl<T> fmt::Debug for Personal<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(personal)")
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Personal<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The reader's own error would show what it found in place of what it expected.
        let wrong = |_| serde::de::Error::custom("a personal field of the wrong type");
        T::deserialize(deserializer).map(Self).map_err(wrong)
    }
}

/// Declares the commands: a struct each, the enum of all, their names, and how they are read.
macro_rules! commands {
    ($(
        $(#[$doc:meta])*
        $name:ident = $text:literal {
            $($(#[$field_doc:meta])* $field:ident: $field_type:ty,)*
        }
    )*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
            #[serde(deny_unknown_fields)]
            pub struct $name {
                $($(#[$field_doc])* pub $field: $field_type,)*
            }

            impl From<$name> for Command {
                fn from(command: $name) -> Self {
                    Self::$name(command)
                }
            }
        )*

        /// A command to a program.
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[allow(missing_docs, reason = "each variant is documented at its struct")]
        pub enum Command {
            $($name($name),)*
        }

        impl Command {
            /// Hands over what the body of each command looks like: the command's name, the name of the schema,
            /// the schema, and those it refers to.
            pub fn describe(each: &mut dyn FnMut(&'static str, Described)) {
                $({
                    let mut refers_to = Vec::new();
                    <$name as ToSchema>::schemas(&mut refers_to);
                    let (name, schema) = (<$name as ToSchema>::name(), <$name as PartialSchema>::schema());
                    each($text, Described { name, schema, refers_to });
                })*
            }

            /// The names of all commands, as they stand in paths.
            pub const NAMES: &'static [&'static str] = &[$($text,)*];

            /// The command's name, as it stands in paths.
            pub const fn name(&self) -> &'static str {
                match self { $(Self::$name(_) => $text,)* }
            }

            /// Reads the command of this name from a JSON object.
            pub fn read(name: &str, body: &[u8]) -> Result<Self, CommandError> {
                match name {
                    $($text => read_object::<$name>(body).map(Self::$name),)*
                    _ => Err(CommandError::UnknownCommand),
                }
            }

            /// Reads the command of this name from a JSON object that may also say who speaks and what they
            /// expect: the fields of [`Common`].
            pub fn read_with_common(name: &str, body: &[u8]) -> Result<(Self, Common), CommandError> {
                match name {
                    $($text => read_object_with_common::<$name>(body)
                        .map(|(command, common)| (Self::$name(command), common)),)*
                    _ => Err(CommandError::UnknownCommand),
                }
            }

            /// Writes the body [`Command::read`] reads.
            pub fn body(&self) -> Vec<u8> {
                let written = match self { $(Self::$name(command) => serde_json::to_vec(command),)* };
                written.expect("every key of a command is a string")
            }
        }
    };
}

/// What the body of a command looks like.
pub struct Described {
    /// Name of the schema.
    pub name: Cow<'static, str>,
    /// The schema.
    pub schema: RefOr<Schema>,
    /// The schemas it refers to, by name.
    pub refers_to: Vec<(String, RefOr<Schema>)>,
}

commands! {
    /// Opens a program: its own ledger, its own rules. Decided against the registry.
    OpenProgram = "open-program" {
        /// Its id; made when absent.
        program: Option<ProgramId>,
        /// Its name in paths, unique in the installation.
        slug: Slug,
        /// Its name for people: 1 to 80 characters, no control characters, no space at either end.
        name: String,
        /// Civil days are days in this zone, for ever.
        time_zone: Zone,
        /// What differs from the default policy.
        #[serde(default, deserialize_with = "optional_object", skip_serializing_if = "Option::is_none")]
        policy: Option<PolicyChanges>,
    }

    /// Changes the policy: what is given is replaced, the rest stays.
    ChangePolicy = "change-policy" {
        /// Rules, from here on.
        #[serde(default, deserialize_with = "optional_object", skip_serializing_if = "Option::is_none")]
        rules: Option<RuleChanges>,
        /// What the measures go by.
        #[serde(default, deserialize_with = "optional_object", skip_serializing_if = "Option::is_none")]
        measures: Option<MeasureChanges>,
    }

    /// Closes the program: no more enrolments and proposals; open proposals are invalidated, pairs go on.
    CloseProgram = "close-program" {}

    /// Archives a closed program: open pairs end, nothing more happens.
    ArchiveProgram = "archive-program" {}

    /// Puts a skill on the list.
    DefineSkill = "define-skill" {
        /// The skill.
        skill: Slug,
    }

    /// Takes a skill from the list. What was recorded with it stays.
    RetireSkill = "retire-skill" {
        /// The skill.
        skill: Slug,
    }

    /// Enrols a person.
    Enrol = "enrol" {
        /// Their id; made when absent.
        participant: Option<ParticipantId>,
        /// The arm; `program` when absent.
        arm: Option<Arm>,
        /// A band of the measure policy; `unknown` when absent.
        generation: Option<Slug>,
        /// Skills offered, each once.
        #[serde(default)]
        offered: Vec<Slug>,
        /// Skills sought, each once.
        #[serde(default)]
        sought: Vec<Slug>,
        /// Part of the organisation.
        unit: Option<Slug>,
        /// Most open pairs; the policy's when absent.
        capacity: Option<u32>,
    }

    /// Says what enrolment should have said. What is absent stays.
    CorrectParticipant = "correct-participant" {
        /// The participant.
        participant: ParticipantId,
        /// The right band, or `unknown`.
        generation: Option<Slug>,
        /// The right unit; `null`: none.
        #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
        unit: Option<Option<Slug>>,
    }

    /// Moves a participant to another arm. Moved to the comparison arm, their open pairs end.
    ChangeArm = "change-arm" {
        /// The participant.
        participant: ParticipantId,
        /// The arm from here on.
        arm: Arm,
    }

    /// Replaces the skills a participant offers or seeks. What is absent stays.
    UpdateSkills = "update-skills" {
        /// The participant.
        participant: ParticipantId,
        /// All skills offered.
        offered: Option<Vec<Slug>>,
        /// All skills sought.
        sought: Option<Vec<Slug>>,
    }

    /// Sets a participant's own limit of open pairs. Pairs above it go on.
    SetCapacity = "set-capacity" {
        /// The participant.
        participant: ParticipantId,
        /// Most open pairs; absent: the policy's again.
        capacity: Option<u32>,
    }

    /// Begins a break: no new pairs, open ones go on.
    TakeBreak = "take-break" {
        /// The participant.
        participant: ParticipantId,
    }

    /// Ends a break.
    ReturnFromBreak = "return-from-break" {
        /// The participant.
        participant: ParticipantId,
    }

    /// Leaves the program: proposals are invalidated, pairs end.
    LeaveProgram = "leave-program" {
        /// The participant.
        participant: ParticipantId,
        /// When; now when absent.
        occurred_at: Option<Timestamp>,
    }

    /// Records that a participant left the organisation: proposals are invalidated, pairs end.
    RecordDeparture = "record-departure" {
        /// The participant.
        participant: ParticipantId,
        /// Why.
        reason: DepartureReason,
        /// When; now when absent.
        occurred_at: Option<Timestamp>,
    }

    /// Records that a participant came back to the organisation; they are enrolled again.
    RecordReturn = "record-return" {
        /// The participant.
        participant: ParticipantId,
    }

    /// Blocks another from being paired with a participant. An open pair of the two ends, its reason withheld.
    BlockPairing = "block-pairing" {
        /// Who blocks.
        participant: ParticipantId,
        /// Who is blocked.
        other: ParticipantId,
        /// Why. Sealed.
        reason: Option<Personal<String>>,
    }

    /// Lifts a block. A block in the other direction stays.
    UnblockPairing = "unblock-pairing" {
        /// Who had blocked.
        participant: ParticipantId,
        /// Who had been blocked.
        other: ParticipantId,
    }

    /// Sets a participant's personal data. Sealed.
    SetPersonal = "set-personal" {
        /// The participant.
        participant: ParticipantId,
        /// The name.
        name: Option<Personal<String>>,
        /// The e-mail address.
        email: Option<Personal<String>>,
        /// The number in the organisation's personnel system.
        hr_id: Option<Personal<String>>,
        /// The year of birth.
        birth_year: Option<Personal<u32>>,
        /// Fields to remove.
        #[serde(default)]
        remove: Vec<PersonalField>,
    }

    /// Erases a person's sealed data, everywhere and for ever.
    ErasePerson = "erase-person" {
        /// The participant.
        participant: ParticipantId,
        /// How many participants are this human being and go with it, themself included. To be said if it is more than one.
        participants: Option<u32>,
    }

    /// Proposes a pair. Who proposes has said yes; of a manager's proposal both are asked.
    ProposePair = "propose-pair" {
        /// Its id; made when absent.
        pair: Option<PairId>,
        /// One participant.
        a: ParticipantId,
        /// The other.
        b: ParticipantId,
    }

    /// Proposes the pairs of a whole round, each decided by itself.
    ProposeRound = "propose-round" {
        /// The round's id; made when absent.
        round: Option<RoundId>,
        /// 1 to 1,000 pairs.
        #[serde(deserialize_with = "objects")]
        pairs: Vec<RoundPair>,
    }

    /// Says yes to a proposal.
    AcceptPair = "accept-pair" {
        /// The pair.
        pair: PairId,
    }

    /// Says no to a proposal.
    DeclinePair = "decline-pair" {
        /// The pair.
        pair: PairId,
    }

    /// Takes a proposal back.
    WithdrawProposal = "withdraw-proposal" {
        /// The pair.
        pair: PairId,
    }

    /// Records that a proposal waited too long. Only the software itself does this.
    ExpireProposal = "expire-proposal" {
        /// The pair.
        pair: PairId,
    }

    /// Pauses an active pair.
    PausePair = "pause-pair" {
        /// The pair.
        pair: PairId,
    }

    /// Resumes a paused pair.
    ResumePair = "resume-pair" {
        /// The pair.
        pair: PairId,
    }

    /// Extends the agreed term.
    ExtendPair = "extend-pair" {
        /// The pair.
        pair: PairId,
        /// The new last day, later than the one agreed.
        term_ends_day: Day,
    }

    /// Ends an active or paused pair.
    EndPair = "end-pair" {
        /// The pair.
        pair: PairId,
        /// Why.
        reason: EndReason,
        /// When; now when absent.
        occurred_at: Option<Timestamp>,
        /// The true reason behind `withheld`. Sealed.
        conduct: Option<Personal<String>>,
    }

    /// Sets a goal of a learner in a pair.
    SetGoal = "set-goal" {
        /// Its id; made when absent.
        goal: Option<GoalId>,
        /// The pair.
        pair: PairId,
        /// Whose goal it is; the party of the command when absent.
        learner: Option<ParticipantId>,
        /// What is to be learned.
        skill: Slug,
        /// In words. Sealed.
        text: Option<Personal<String>>,
    }

    /// Records that a goal was reached.
    CompleteGoal = "complete-goal" {
        /// The goal.
        goal: GoalId,
    }

    /// Gives a goal up.
    AbandonGoal = "abandon-goal" {
        /// The goal.
        goal: GoalId,
    }

    /// Logs a session.
    LogSession = "log-session" {
        /// Its id; made when absent.
        session: Option<SessionId>,
        /// The pair.
        pair: PairId,
        /// When it began.
        occurred_at: Timestamp,
        /// How long it was.
        minutes: u32,
        /// How it was held.
        mode: Mode,
        /// Who taught what: 1 to 32, each (teacher, skill) once.
        #[serde(deserialize_with = "objects")]
        exchanges: Vec<TaughtExchange>,
        /// Says that it is not the session it overlaps told twice.
        #[serde(default)]
        confirm_distinct: bool,
        /// A note. Sealed.
        note: Option<Personal<String>>,
    }

    /// Confirms that a version of a session is right.
    ConfirmSession = "confirm-session" {
        /// The session.
        session: SessionId,
        /// The version confirmed, from 1.
        version: u32,
    }

    /// Says that a session is not as recorded.
    DisputeSession = "dispute-session" {
        /// The session.
        session: SessionId,
        /// The version disputed; the newest when absent.
        version: Option<u32>,
        /// Why. Sealed.
        reason: Option<Personal<String>>,
    }

    /// Replaces what a session says, its note too. Its confirmation and the ratings of exchanges it drops lapse.
    CorrectSession = "correct-session" {
        /// The session.
        session: SessionId,
        /// When it began.
        occurred_at: Timestamp,
        /// How long it was.
        minutes: u32,
        /// How it was held.
        mode: Mode,
        /// Who taught what: 1 to 32, each (teacher, skill) once.
        #[serde(deserialize_with = "objects")]
        exchanges: Vec<TaughtExchange>,
        /// Says that it is not the session it overlaps told twice.
        #[serde(default)]
        confirm_distinct: bool,
        /// A note. Sealed. Without one there is none any more.
        note: Option<Personal<String>>,
    }

    /// Says that a session did not take place or should not have been recorded.
    VoidSession = "void-session" {
        /// The session.
        session: SessionId,
    }

    /// Ends a dispute: the session stands as recorded.
    ResolveDispute = "resolve-dispute" {
        /// The session.
        session: SessionId,
    }

    /// Records that an agreed session did not take place because somebody was missing.
    RecordNoShow = "record-no-show" {
        /// Its id; made when absent.
        no_show: Option<NoShowId>,
        /// The pair.
        pair: PairId,
        /// Who was missing: one of the pair or both.
        absent: Vec<ParticipantId>,
        /// When the session should have begun.
        occurred_at: Timestamp,
    }

    /// Says what an exchange was worth to its learner.
    RateExchange = "rate-exchange" {
        /// The session.
        session: SessionId,
        /// Who taught.
        teacher: ParticipantId,
        /// What was taught.
        skill: Slug,
        /// 1 to 5.
        rating: u32,
        /// A comment. Sealed.
        comment: Option<Personal<String>>,
    }

    /// Changes a rating, and replaces the comment on it.
    ReviseRating = "revise-rating" {
        /// The session.
        session: SessionId,
        /// Who taught.
        teacher: ParticipantId,
        /// What was taught.
        skill: Slug,
        /// 1 to 5.
        rating: u32,
        /// A comment. Sealed. Without one there is none any more.
        comment: Option<Personal<String>>,
    }

    /// Takes a participant over from elsewhere.
    ImportParticipant = "import-participant" {
        /// Who.
        participant: PersonRef,
        /// The arm; `program` when absent.
        arm: Option<Arm>,
        /// A band of the measure policy; `unknown` when absent.
        generation: Option<Slug>,
        /// Skills offered, each once.
        #[serde(default)]
        offered: Vec<Slug>,
        /// Skills sought, each once.
        #[serde(default)]
        sought: Vec<Slug>,
        /// Part of the organisation.
        unit: Option<Slug>,
        /// Most open pairs; the policy's when absent.
        capacity: Option<u32>,
    }

    /// Takes a pair over from elsewhere; it is active. Waives capacity, acceptance and back-dating.
    ImportPair = "import-pair" {
        /// Its id; made when absent.
        pair: Option<PairId>,
        /// One participant.
        a: PersonRef,
        /// The other.
        b: PersonRef,
        /// The earliest instant known of it; earlier imported sessions move it back.
        started_at: Timestamp,
    }

    /// Takes a session over from elsewhere. Waives back-dating, the rating window, overlap and order of activation.
    ImportSession = "import-session" {
        /// Its id; made when absent.
        session: Option<SessionId>,
        /// The pair; or `between`.
        pair: Option<PairId>,
        /// The two of the pair; or `pair`.
        between: Option<[PersonRef; 2]>,
        /// When it began.
        occurred_at: Timestamp,
        /// How long it was.
        minutes: u32,
        /// How it was held; `unspecified` when absent.
        mode: Option<Mode>,
        /// Who taught what: 1 to 32, each (teacher, skill) once.
        #[serde(deserialize_with = "objects")]
        exchanges: Vec<ImportedExchange>,
    }
}

/// Parts of a policy that are to differ.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyChanges {
    /// Rules.
    #[serde(default, deserialize_with = "optional_object", skip_serializing_if = "Option::is_none")]
    pub rules: Option<RuleChanges>,
    /// What the measures go by.
    #[serde(default, deserialize_with = "optional_object", skip_serializing_if = "Option::is_none")]
    pub measures: Option<MeasureChanges>,
}

/// Rules that are to differ. Absent ones stay.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleChanges {
    /// Most open pairs of a participant who set no capacity of their own: 1 to 1,000.
    pub capacity: Option<u32>,
    /// Days a proposal waits: 1 to 365.
    pub proposal_ttl_days: Option<u32>,
    /// Days a pair is agreed for: 1 to 3,650.
    pub term_days: Option<u32>,
    /// Days a thing may lie back when it is recorded: 0 to 3,650.
    pub backdating_days: Option<u32>,
    /// Longest session: 1 to 1,440.
    pub max_session_minutes: Option<u32>,
    /// Whether sessions are to be confirmed.
    pub confirmation: Option<Confirmation>,
    /// Days after a session in which it may be rated: 0 to 3,650.
    pub rating_window_days: Option<u32>,
    /// Which skills may be named.
    pub skills: Option<Skills>,
}

/// Measure policy that is to differ. Absent parts stay.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MeasureChanges {
    /// All generations, oldest first: 1 to 32.
    #[serde(default, deserialize_with = "optional_objects")]
    pub bands: Option<Vec<Band>>,
    /// Days without a session after which a pair is stalled: 1 to 3,650.
    pub stall_after_days: Option<u32>,
    /// Days without a session after which a spell of activity has ended: 1 to 3,650.
    pub lapse_after_days: Option<u32>,
    /// Fewest people a figure shown to outsiders may rest on: 1 to 1,000.
    pub k_anonymity: Option<u32>,
}

/// Most pairs of a round.
pub const ROUND_MAX: usize = 1000;

/// One pair of a round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ProposedPair)]
pub struct RoundPair {
    /// Its id; made when absent.
    pub pair: Option<PairId>,
    /// One participant.
    pub a: ParticipantId,
    /// The other.
    pub b: ParticipantId,
    /// The weight the matching gave it.
    pub weight: Option<u32>,
}

/// Who taught what, for how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TaughtExchange {
    /// Who taught.
    pub teacher: ParticipantId,
    /// What was taught.
    pub skill: Slug,
    /// For how many minutes.
    pub minutes: u32,
}

/// Who taught what, for how long, and perhaps what it was worth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportedExchange {
    /// Who taught.
    pub teacher: PersonRef,
    /// What was taught; `unspecified` when absent.
    pub skill: Option<Slug>,
    /// For how many minutes.
    pub minutes: u32,
    /// 1 to 5.
    pub rating: Option<u32>,
}

/// A person of an import: a participant's id, or `label:` and the name an older system has for them.
/// A label never reaches a ledger: the service turns it into an id before the command is decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PersonRef {
    /// By id.
    Id(ParticipantId),
    /// By label, 1 to [`PersonRef::LABEL_MAX`] bytes.
    Label(String),
}

const LABEL: &str = "label:";

impl PersonRef {
    /// Longest label, in bytes.
    pub const LABEL_MAX: usize = 256;

    /// The id, `None` for a label.
    pub const fn id(&self) -> Option<ParticipantId> {
        match self {
            Self::Id(id) => Some(*id),
            Self::Label(_) => None,
        }
    }

    fn resolve(&mut self, id_of: &dyn Fn(&str) -> ParticipantId) {
        if let Self::Label(label) = self {
            *self = Self::Id(id_of(label));
        }
    }
}

impl PartialSchema for PersonRef {
    fn schema() -> RefOr<Schema> {
        const UUID: &str = "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}";
        let text = ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::String))
            .pattern(Some(format!("^({UUID}|{LABEL}[^\\u0000]+)$")))
            .max_length(Some(LABEL.len() + Self::LABEL_MAX))
            .description(Some("A participant's id, or `label:` and the name an older system has for them."));
        RefOr::T(Schema::Object(text.build()))
    }
}

impl ToSchema for PersonRef {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("PersonRef")
    }
}

impl Serialize for PersonRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Id(id) => id.serialize(serializer),
            Self::Label(label) => serializer.collect_str(&format_args!("{LABEL}{label}")),
        }
    }
}

impl<'de> Deserialize<'de> for PersonRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PersonVisitor;
        impl Visitor<'_> for PersonVisitor {
            type Value = PersonRef;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a UUID, or `label:` and 1 to 256 bytes")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<PersonRef, E> {
                match text.strip_prefix(LABEL) {
                    Some(label) if (1..=PersonRef::LABEL_MAX).contains(&label.len()) => {
                        Ok(PersonRef::Label(label.to_owned()))
                    }
                    Some(_) => Err(E::custom("a label has 1 to 256 bytes")),
                    None => {
                        let uuid: Uuid = parse_uuid(text.as_bytes()).map_err(E::custom)?;
                        Ok(PersonRef::Id(ParticipantId(uuid)))
                    }
                }
            }
        }
        deserializer.deserialize_str(PersonVisitor)
    }
}

impl Command {
    /// Turns every label of an import into the participant's id. Other commands have none.
    pub fn resolve_labels(&mut self, id_of: &dyn Fn(&str) -> ParticipantId) {
        match self {
            Self::ImportParticipant(command) => command.participant.resolve(id_of),
            Self::ImportPair(command) => {
                command.a.resolve(id_of);
                command.b.resolve(id_of);
            }
            Self::ImportSession(command) => {
                for person in command.between.iter_mut().flatten() {
                    person.resolve(id_of);
                }
                for exchange in &mut command.exchanges {
                    exchange.teacher.resolve(id_of);
                }
            }
            Self::OpenProgram(_)
            | Self::ChangePolicy(_)
            | Self::CloseProgram(_)
            | Self::ArchiveProgram(_)
            | Self::DefineSkill(_)
            | Self::RetireSkill(_)
            | Self::Enrol(_)
            | Self::CorrectParticipant(_)
            | Self::ChangeArm(_)
            | Self::UpdateSkills(_)
            | Self::SetCapacity(_)
            | Self::TakeBreak(_)
            | Self::ReturnFromBreak(_)
            | Self::LeaveProgram(_)
            | Self::RecordDeparture(_)
            | Self::RecordReturn(_)
            | Self::BlockPairing(_)
            | Self::UnblockPairing(_)
            | Self::SetPersonal(_)
            | Self::ErasePerson(_)
            | Self::ProposePair(_)
            | Self::ProposeRound(_)
            | Self::AcceptPair(_)
            | Self::DeclinePair(_)
            | Self::WithdrawProposal(_)
            | Self::ExpireProposal(_)
            | Self::PausePair(_)
            | Self::ResumePair(_)
            | Self::ExtendPair(_)
            | Self::EndPair(_)
            | Self::SetGoal(_)
            | Self::CompleteGoal(_)
            | Self::AbandonGoal(_)
            | Self::LogSession(_)
            | Self::ConfirmSession(_)
            | Self::DisputeSession(_)
            | Self::CorrectSession(_)
            | Self::VoidSession(_)
            | Self::ResolveDispute(_)
            | Self::RecordNoShow(_)
            | Self::RateExchange(_)
            | Self::ReviseRating(_) => {}
        }
    }

    /// Whether the command carries personal text, which has to be sealed.
    pub const fn carries_sealed(&self) -> bool {
        match self {
            Self::SetPersonal(_) | Self::ErasePerson(_) => true,
            Self::BlockPairing(command) => command.reason.is_some(),
            Self::EndPair(command) => command.conduct.is_some(),
            Self::SetGoal(command) => command.text.is_some(),
            Self::LogSession(command) => command.note.is_some(),
            Self::CorrectSession(command) => command.note.is_some(),
            Self::DisputeSession(command) => command.reason.is_some(),
            Self::RateExchange(command) => command.comment.is_some(),
            Self::ReviseRating(command) => command.comment.is_some(),
            Self::OpenProgram(_)
            | Self::ChangePolicy(_)
            | Self::CloseProgram(_)
            | Self::ArchiveProgram(_)
            | Self::DefineSkill(_)
            | Self::RetireSkill(_)
            | Self::Enrol(_)
            | Self::CorrectParticipant(_)
            | Self::ChangeArm(_)
            | Self::UpdateSkills(_)
            | Self::SetCapacity(_)
            | Self::TakeBreak(_)
            | Self::ReturnFromBreak(_)
            | Self::LeaveProgram(_)
            | Self::RecordDeparture(_)
            | Self::RecordReturn(_)
            | Self::UnblockPairing(_)
            | Self::ProposePair(_)
            | Self::ProposeRound(_)
            | Self::AcceptPair(_)
            | Self::DeclinePair(_)
            | Self::WithdrawProposal(_)
            | Self::ExpireProposal(_)
            | Self::PausePair(_)
            | Self::ResumePair(_)
            | Self::ExtendPair(_)
            | Self::CompleteGoal(_)
            | Self::AbandonGoal(_)
            | Self::ConfirmSession(_)
            | Self::VoidSession(_)
            | Self::ResolveDispute(_)
            | Self::RecordNoShow(_)
            | Self::ImportParticipant(_)
            | Self::ImportPair(_)
            | Self::ImportSession(_) => false,
        }
    }

    /// The fields of its body that are sealed: those of the type [`Personal`].
    pub const fn sealed_fields(&self) -> &'static [&'static str] {
        match self {
            Self::SetPersonal(_) => &["name", "email", "hr_id", "birth_year"],
            Self::BlockPairing(_) | Self::DisputeSession(_) => &["reason"],
            Self::EndPair(_) => &["conduct"],
            Self::SetGoal(_) => &["text"],
            Self::LogSession(_) | Self::CorrectSession(_) => &["note"],
            Self::RateExchange(_) | Self::ReviseRating(_) => &["comment"],
            Self::ErasePerson(_)
            | Self::OpenProgram(_)
            | Self::ChangePolicy(_)
            | Self::CloseProgram(_)
            | Self::ArchiveProgram(_)
            | Self::DefineSkill(_)
            | Self::RetireSkill(_)
            | Self::Enrol(_)
            | Self::CorrectParticipant(_)
            | Self::ChangeArm(_)
            | Self::UpdateSkills(_)
            | Self::SetCapacity(_)
            | Self::TakeBreak(_)
            | Self::ReturnFromBreak(_)
            | Self::LeaveProgram(_)
            | Self::RecordDeparture(_)
            | Self::RecordReturn(_)
            | Self::UnblockPairing(_)
            | Self::ProposePair(_)
            | Self::ProposeRound(_)
            | Self::AcceptPair(_)
            | Self::DeclinePair(_)
            | Self::WithdrawProposal(_)
            | Self::ExpireProposal(_)
            | Self::PausePair(_)
            | Self::ResumePair(_)
            | Self::ExtendPair(_)
            | Self::CompleteGoal(_)
            | Self::AbandonGoal(_)
            | Self::ConfirmSession(_)
            | Self::VoidSession(_)
            | Self::ResolveDispute(_)
            | Self::RecordNoShow(_)
            | Self::ImportParticipant(_)
            | Self::ImportPair(_)
            | Self::ImportSession(_) => &[],
        }
    }

    /// The body the command was read from, each sealed value in it replaced by one and the same word. A hash of it can be
    /// kept for ever: it tells no text, not even to who tries every possible one. Without a sealed value: the body itself.
    ///
    /// What is left is not JSON, so no other body is the same.
    pub fn without_sealed<'b>(&self, body: &'b [u8]) -> Cow<'b, [u8]> {
        const WORD: &[u8] = b"(sealed)";
        let sealed = if self.carries_sealed() { self.sealed_fields() } else { &[] };
        // What is read as a command is an object, and each of its fields stands in it once.
        let fields = if sealed.is_empty() {
            Ok(Fields(Vec::new()))
        } else {
            serde_json::from_slice::<Fields<'_>>(body)
        };
        let fields = fields.map_or_else(|_| Vec::new(), |fields| fields.0);
        let mut left = Vec::new();
        let mut from = 0;
        for (name, value) in fields {
            let text = value.get();
            if text == "null" || !sealed.contains(&&*name) {
                continue;
            }
            let at = text.as_ptr().addr() - body.as_ptr().addr();
            left.extend_from_slice(&body[from..at]);
            left.extend_from_slice(WORD);
            from = at + text.len();
        }
        if from == 0 {
            return Cow::Borrowed(body);
        }
        left.extend_from_slice(&body[from..]);
        Cow::Owned(left)
    }
}

/// The fields of an object, in order, their values as they stand there.
struct Fields<'b>(Vec<(Cow<'b, str>, &'b RawValue)>);

impl<'de: 'b, 'b> Deserialize<'de> for Fields<'b> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;
        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(FieldsVisitor).map(Fields)
    }
}

/// What any command's body may say beside the command's own fields.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Common {
    /// Who acts.
    pub actor: Option<Actor>,
    /// For whom a manager acts.
    pub on_behalf_of: Option<ParticipantId>,
    /// The version its subject must still have.
    pub expected_version: Option<u64>,
}

/// A version a caller saw: a number every reader of JSON takes for itself.
pub struct Version(pub u64);

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const MAX: u64 = (1 << 53) - 1;
        let version = u64::deserialize(deserializer)?;
        let within = (version <= MAX).then_some(Self(version));
        within.ok_or_else(|| serde::de::Error::custom(format_args!("a version is at most {MAX}")))
    }
}

fn read_object_with_common<T: DeserializeOwned>(body: &[u8]) -> Result<(T, Common), CommandError> {
    let mut common = Common::default();
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let command = WithCommon { common: &mut common, target: std::marker::PhantomData::<T> }
        .deserialize(&mut deserializer)
        .and_then(|command| deserializer.end().map(|()| command))
        .map_err(CommandError::Malformed)?;
    Ok((command, common))
}

/// Reads an object, keeping the fields of [`Common`] from the command's own.
// `#[serde(flatten)]` would buffer every field and lose `deny_unknown_fields`.
struct WithCommon<'c, T> {
    common: &'c mut Common,
    target: std::marker::PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for WithCommon<'_, T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for WithCommon<'_, T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(Sieve { common: self.common, seen: [false; 3], map }))
    }
}

struct Sieve<'c, A> {
    common: &'c mut Common,
    seen: [bool; 3],
    map: A,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Sieve<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        const FIELDS: [&str; 3] = ["actor", "on_behalf_of", "expected_version"];
        while let Some(key) = self.map.next_key::<Cow<'de, str>>()? {
            let Some(index) = FIELDS.iter().position(|field| *field == key) else {
                return match key {
                    Cow::Borrowed(key) => seed.deserialize(BorrowedStrDeserializer::new(key)),
                    Cow::Owned(key) => seed.deserialize(key.into_deserializer()),
                }
                .map(Some);
            };
            if std::mem::replace(&mut self.seen[index], true) {
                return Err(serde::de::Error::duplicate_field(FIELDS[index]));
            }
            match index {
                0 => self.common.actor = self.map.next_value()?,
                1 => self.common.on_behalf_of = self.map.next_value()?,
                _ => self.common.expected_version = self.map.next_value::<Option<Version>>()?.map(|v| v.0),
            }
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

fn read_object<T: DeserializeOwned>(body: &[u8]) -> Result<T, CommandError> {
    serde_json::from_slice::<Object<T>>(body).map(|object| object.0).map_err(CommandError::Malformed)
}

/// A value read from a JSON object only: derived structs would take an array of their fields as well.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(ObjectVisitor(std::marker::PhantomData))
    }
}

fn objects<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    let objects = Vec::<Object<T>>::deserialize(deserializer)?;
    Ok(objects.into_iter().map(|object| object.0).collect())
}

fn optional_objects<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Vec<T>>, D::Error> {
    let objects = Option::<Vec<Object<T>>>::deserialize(deserializer)?;
    Ok(objects.map(|objects| objects.into_iter().map(|object| object.0).collect()))
}

fn optional_object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Ok(Option::<Object<T>>::deserialize(deserializer)?.map(|object| object.0))
}

/// Tells `null` from an absent field.
#[allow(clippy::option_option, reason = "absent, none and some are three answers here")]
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(deserializer).map(Some)
}
