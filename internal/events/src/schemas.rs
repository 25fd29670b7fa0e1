//! The compiled-in schemas: one entry per record type of `schemas/avro`.

use std::sync::OnceLock;

use apache_avro::Schema;
use apache_avro::rabin::Rabin;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::writer::datum::GenericDatumWriter;

macro_rules! schema_kinds {
    ($($name:ident = $event:literal v $version:literal;)*) => {
        /// A record type.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs)] // each is described in its schema
        pub enum SchemaKind { $($name),* }

        impl SchemaKind {
            /// Every record type, in the order of their local ids.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The record's name in its schema, version included.
            #[must_use]
            pub const fn record_name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),* }
            }

            /// The event's name, without the version: the header `event`.
            #[must_use]
            pub const fn event_name(self) -> &'static str {
                match self { $(Self::$name => $event),* }
            }

            /// The version: the header `version`.
            #[must_use]
            pub const fn version(self) -> &'static str {
                match self { $(Self::$name => $version),* }
            }

            /// The schema's text.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => include_str!(concat!("../../../schemas/avro/", stringify!($name), ".avsc"))),*
                }
            }
        }
    };
}

// The order gives the ids that records carry where no registry is configured: append, never reorder.
schema_kinds! {
    ConversationCreatedV1 = "conversation_created" v "1";
    MembersAddedV1 = "members_added" v "1";
    MemberRemovedV1 = "member_removed" v "1";
    MemberLeftV1 = "member_left" v "1";
    RoleChangedV1 = "role_changed" v "1";
    TitleChangedV1 = "title_changed" v "1";
    MessageSentV1 = "message_sent" v "1";
    MessageEditedV1 = "message_edited" v "1";
    MessageDeletedV1 = "message_deleted" v "1";
    ReactionAddedV1 = "reaction_added" v "1";
    ReactionRemovedV1 = "reaction_removed" v "1";
    IdWithdrawnV1 = "id_withdrawn" v "1";
    ReadMarkV1 = "read_mark" v "1";
    DeliveryV1 = "delivery" v "1";
    QuarantinedV1 = "quarantined" v "1";
    GenesisV1 = "genesis" v "1";
    TickV1 = "tick" v "1";
    UserRegisteredV1 = "user_registered" v "1";
    SessionStartedV1 = "session_started" v "1";
    SessionEndedV1 = "session_ended" v "1";
    ConversationCreatedV2 = "conversation_created" v "2";
    MembersAddedV2 = "members_added" v "2";
}

/// A parsed schema with its prebuilt reader and writer.
pub(crate) struct Known {
    pub(crate) kind: SchemaKind,
    /// Rabin (CRC-64-AVRO) over the canonical form, as 16 hex digits.
    pub(crate) fingerprint: String,
    /// The full name, `klatsch.chat.MessageSentV1`: the registry's subject.
    pub(crate) full_name: String,
    pub(crate) reader: GenericDatumReader<'static>,
    pub(crate) writer: GenericDatumWriter<'static>,
}

/// All schemas, in the order of [`SchemaKind::ALL`].
///
/// # Panics
/// When a compiled-in schema is malformed, which a test rules out.
pub(crate) fn all() -> &'static [Known] {
    static SCHEMAS: OnceLock<Vec<Schema>> = OnceLock::new();
    static KNOWN: OnceLock<Vec<Known>> = OnceLock::new();
    let parse = |kind: &SchemaKind| Schema::parse_str(kind.text()).expect("a schema of schemas/avro is well formed");
    let schemas = SCHEMAS.get_or_init(|| SchemaKind::ALL.iter().map(parse).collect());
    KNOWN.get_or_init(|| SchemaKind::ALL.iter().zip(schemas).map(|(kind, schema)| known(*kind, schema)).collect())
}

pub(crate) fn of(kind: SchemaKind) -> &'static Known {
    &all()[kind as usize]
}

fn known(kind: SchemaKind, schema: &'static Schema) -> Known {
    let digest = schema.fingerprint::<Rabin>().bytes;
    let name = schema.name().expect("every schema of schemas/avro is a record");
    Known {
        kind,
        fingerprint: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        full_name: name.fullname(None),
        reader: GenericDatumReader::builder(schema).human_readable(false).build().expect("the schema resolves"),
        writer: GenericDatumWriter::builder(schema).human_readable(false).build().expect("the schema resolves"),
    }
}
