//! What ids, instants and words look like in an OpenAPI document (JSON Schema 2020-12).
//! Never checks a value: reading does.

use std::borrow::Cow;

use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::openapi::{RefOr, schema::SchemaType};
use utoipa::{PartialSchema, ToSchema};

use crate::entry::Actor;
use crate::id::{
    B64, CommandId, ErasureId, EventId, GoalId, LinkId, NoShowId, PairId, ParticipantId, ProgramId, ReadId,
    ReportId, RoundId, SessionId, Slug, TokenId,
};
use crate::time::{Day, Timestamp, Zone};

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::Type(Type::String))
}

/// One of a closed set of words.
pub(crate) fn word(words: impl IntoIterator<Item = &'static str>, says: &str) -> RefOr<Schema> {
    let word = text().enum_values(Some(words)).description(Some(says.trim()));
    RefOr::T(Schema::Object(word.build()))
}

macro_rules! texts {
    ($($(#[$doc:meta])* $type:ty => $name:literal: $builder:expr;)*) => {$(
        $(#[$doc])*
        impl PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                RefOr::T(Schema::Object($builder.build()))
            }
        }

        impl ToSchema for $type {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed($name)
            }
        }
    )*};
}

fn uuid(of: &str) -> ObjectBuilder {
    text()
        .format(Some(SchemaFormat::Custom("uuid".into())))
        .description(Some(format!("The UUID of {of}, with hyphens.")))
}

texts! {
    ProgramId => "ProgramId": uuid("a program");
    ParticipantId => "ParticipantId": uuid("a participant");
    PairId => "PairId": uuid("a pair");
    SessionId => "SessionId": uuid("a session");
    GoalId => "GoalId": uuid("a goal");
    RoundId => "RoundId": uuid("a round");
    NoShowId => "NoShowId": uuid("a no-show");
    EventId => "EventId": uuid("an event");
    CommandId => "CommandId": uuid("a command");
    ReportId => "ReportId": uuid("a report");
    TokenId => "TokenId": uuid("a token");
    ErasureId => "ErasureId": uuid("an erasure");
    ReadId => "ReadId": uuid("a read of personal data");
    LinkId => "LinkId": uuid("a statement on who is the same human being");
    Slug => "Slug": text()
        .pattern(Some("^[a-z0-9]+(-[a-z0-9]+)*$"))
        .min_length(Some(1))
        .max_length(Some(Slug::MAX))
        .description(Some("Lower-case words of letters and digits, joined by single hyphens; not a UUID."));
    Timestamp => "Timestamp": text()
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
        .description(Some("An instant (RFC 3339); written in UTC with six digits of a second."));
    Day => "Day": text()
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Date)))
        .description(Some("A civil day in the program's time zone."));
    Zone => "Zone": text()
        .examples(["Europe/Berlin"])
        .description(Some("A time zone of the IANA database, by its name."));
    Actor => "Actor": text()
        .pattern(Some(
            "^(manager|system|participant:[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12})$",
        ))
        .description(Some("Who acts: `manager` or `participant:<uuid>`; `system` is the software itself."));
}

impl<const N: usize> PartialSchema for B64<N> {
    fn schema() -> RefOr<Schema> {
        let length = N.div_ceil(3) * 4;
        let described = format!("{N} bytes in standard base64 with padding (RFC 4648 section 4).");
        let builder = text().min_length(Some(length)).max_length(Some(length)).description(Some(described));
        RefOr::T(Schema::Object(builder.build()))
    }
}

impl<const N: usize> ToSchema for B64<N> {
    fn name() -> Cow<'static, str> {
        Cow::Owned(format!("Base64Of{N}Bytes"))
    }
}
