//! What values that write themselves look like in an OpenAPI document (JSON Schema 2020-12).
//! Never checks a value.

use std::borrow::Cow;

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{AdditionalProperties, ArrayBuilder, ObjectBuilder, Schema, SchemaType, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::outsiders::{Cells, Week};
use crate::reciprocity::Grades;

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::Type(Type::String))
}

impl PartialSchema for Grades {
    fn schema() -> RefOr<Schema> {
        let grade = text().enum_values(Some(["confirmed", "confirmed-asserted", "logged", "imported"]));
        RefOr::T(Schema::Array(ArrayBuilder::new().items(grade).build()))
    }
}

impl ToSchema for Grades {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Grades")
    }
}

impl PartialSchema for Week {
    fn schema() -> RefOr<Schema> {
        let week = text().pattern(Some("^[0-9]{4}-W[0-9]{2}$")).examples(["2026-W46"]);
        RefOr::T(Schema::Object(week.description(Some("A week of ISO 8601, Monday to Sunday.")).build()))
    }
}

impl ToSchema for Week {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Week")
    }
}

impl PartialSchema for Cells {
    fn schema() -> RefOr<Schema> {
        let kinds = SchemaType::Array(vec![Type::Integer, Type::Null]);
        let count = ObjectBuilder::new().schema_type(kinds).minimum(Some(0.0));
        let cells = ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::Object))
            .additional_properties(Some(AdditionalProperties::RefOr(Schema::Object(count.build()).into())))
            .description(Some("Counts by name; null: withheld, because too few people are behind it."));
        RefOr::T(Schema::Object(cells.build()))
    }
}

impl ToSchema for Cells {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Cells")
    }
}
