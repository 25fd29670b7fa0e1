//! The compiled-in schemas: one per record type, parsed once.

use std::sync::OnceLock;

use apache_avro::Schema;
use apache_avro::rabin::Rabin;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::writer::datum::GenericDatumWriter;

use crate::SchemaKind;

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
