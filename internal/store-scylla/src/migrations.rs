//! The migrations of `schemas/cql`, compiled in.

use sha2::{Digest as _, Sha256};

/// One numbered file of CQL.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Migration {
    /// Counted from 1 within its set.
    pub(crate) number: i32,
    pub(crate) name: &'static str,
    text: &'static str,
}

/// The tables that do not belong to an incarnation.
pub(crate) const BASE: [Migration; 7] = [
    Migration { number: 1, name: "base/0001_store", text: include_str!("../../../schemas/cql/base/0001_store.cql") },
    Migration { number: 2, name: "base/0002_holds", text: include_str!("../../../schemas/cql/base/0002_holds.cql") },
    Migration { number: 3, name: "base/0003_users", text: include_str!("../../../schemas/cql/base/0003_users.cql") },
    Migration {
        number: 4,
        name: "base/0004_sessions",
        text: include_str!("../../../schemas/cql/base/0004_sessions.cql"),
    },
    Migration { number: 5, name: "base/0005_drops", text: include_str!("../../../schemas/cql/base/0005_drops.cql") },
    Migration {
        number: 6,
        name: "base/0006_token_families",
        text: include_str!("../../../schemas/cql/base/0006_token_families.cql"),
    },
    Migration {
        number: 7,
        name: "base/0007_privacy",
        text: include_str!("../../../schemas/cql/base/0007_privacy.cql"),
    },
];

/// The tables of an incarnation.
pub(crate) const DERIVED: [Migration; 5] = [
    Migration {
        number: 1,
        name: "derived/0001_rows",
        text: include_str!("../../../schemas/cql/derived/0001_rows.cql"),
    },
    Migration {
        number: 2,
        name: "derived/0002_progress",
        text: include_str!("../../../schemas/cql/derived/0002_progress.cql"),
    },
    Migration {
        number: 3,
        name: "derived/0003_attention",
        text: include_str!("../../../schemas/cql/derived/0003_attention.cql"),
    },
    Migration {
        number: 4,
        name: "derived/0004_invitations",
        text: include_str!("../../../schemas/cql/derived/0004_invitations.cql"),
    },
    Migration {
        number: 5,
        name: "derived/0005_rules_3",
        text: include_str!("../../../schemas/cql/derived/0005_rules_3.cql"),
    },
];

impl Migration {
    /// The statements of the file for a keyspace.
    pub(crate) fn statements(&self, keyspace: &str) -> Vec<String> {
        statements(self.text).iter().map(|statement| statement.replace("{keyspace}", keyspace)).collect()
    }

    /// A digest of the statements without comments, because a comment may be corrected after a release.
    pub(crate) fn digest(&self) -> [u8; 32] {
        Sha256::digest(statements(self.text).join(";\n")).into()
    }
}

/// The statements of a file, without comments and with single spaces. None of our statements has a string with `;`
/// or `--`.
fn statements(text: &str) -> Vec<String> {
    let code: Vec<&str> = text.lines().map(|line| line.split("--").next().unwrap_or_default()).collect();
    let split = code.join("\n");
    let words = |statement: &str| statement.split_whitespace().collect::<Vec<_>>().join(" ");
    split.split(';').map(words).filter(|statement| !statement.is_empty()).collect()
}

/// The table and the column that a statement adds, if it has the form `ALTER TABLE k.t ADD column type`.
pub(crate) fn added_column(statement: &str) -> Option<(&str, &str)> {
    let (table, column) = statement.strip_prefix("ALTER TABLE ")?.split_once(" ADD ")?;
    Some((table.split_once('.')?.1, column.split_once(' ')?.0))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use store::tables;

    use super::*;

    #[test]
    fn every_file_is_compiled_in_under_its_number() {
        for (folder, set) in [("base", &BASE[..]), ("derived", &DERIVED[..])] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas/cql").join(folder);
            let files = std::fs::read_dir(path).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
            let mut files: Vec<String> = files.collect();
            files.sort();
            let named: Vec<String> = set.iter().map(|migration| format!("{}.cql", migration.name)).collect();
            assert_eq!(files.iter().map(|file| format!("{folder}/{file}")).collect::<Vec<_>>(), named);
            for (at, migration) in set.iter().enumerate() {
                assert_eq!(usize::try_from(migration.number).unwrap(), at + 1);
                assert!(migration.name.starts_with(&format!("{folder}/{:04}_", at + 1)), "{}", migration.name);
            }
        }
    }

    #[test]
    fn released_migrations_are_never_edited() {
        let digests: Vec<String> = BASE
            .iter()
            .chain(&DERIVED)
            .map(|migration| {
                format!(
                    "{} {}",
                    migration.name,
                    migration.digest()[..4].iter().map(|byte| format!("{byte:02x}")).collect::<String>()
                )
            })
            .collect();
        assert_eq!(digests, PINNED);
    }

    const PINNED: [&str; 12] = [
        "base/0001_store 44ddd260",
        "base/0002_holds a85bb0bd",
        "base/0003_users f2dd3e0d",
        "base/0004_sessions 1dd55e56",
        "base/0005_drops 2c9c7f29",
        "base/0006_token_families d2f7f79f",
        "base/0007_privacy ba7b69b1",
        "derived/0001_rows a9d195cf",
        "derived/0002_progress 9093ec88",
        "derived/0003_attention 4ef657e0",
        "derived/0004_invitations 0c9205a2",
        "derived/0005_rules_3 87dacc10",
    ];

    /// A `CREATE TABLE`: columns with their types, partition key, clustering key.
    #[derive(Debug, PartialEq, Eq)]
    struct Created {
        columns: BTreeMap<String, String>,
        partition_key: Vec<String>,
        clustering_key: Vec<String>,
    }

    fn created(statement: &str) -> (String, Created) {
        let (head, rest) = statement.split_once('(').unwrap();
        let name = head.trim().rsplit('.').next().unwrap().to_owned();
        let (columns, key) = rest.split_once("PRIMARY KEY (").unwrap();
        let key = key.split(") WITH").next().unwrap().trim_end_matches([')', ' ']);
        let names = |list: &str| -> Vec<String> {
            let names = list.split(',').map(|name| name.trim_matches([' ', '(', ')']).to_owned());
            names.filter(|name| !name.is_empty()).collect()
        };
        let (partition, clustering) = match key.strip_prefix('(') {
            Some(composite) => composite.split_once(')').unwrap_or((composite, "")),
            None => key.split_once(',').unwrap_or((key, "")),
        };
        let columns = columns.split(',').filter_map(|column| column.trim().split_once(' '));
        let columns = columns.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect();
        (name, Created { columns, partition_key: names(partition), clustering_key: names(clustering) })
    }

    #[test]
    fn the_tables_are_those_of_the_seam() {
        let statements: Vec<String> = DERIVED.iter().flat_map(|migration| migration.statements("k")).collect();
        let mut made: BTreeMap<String, Created> = BTreeMap::new();
        for statement in &statements {
            match added_column(statement) {
                Some((table, column)) => {
                    let kind = statement.rsplit(' ').next().unwrap().to_owned();
                    made.get_mut(table).unwrap().columns.insert(column.to_owned(), kind);
                }
                None => {
                    assert!(statement.starts_with("CREATE TABLE IF NOT EXISTS k."), "{statement}");
                    made.extend([created(statement)]);
                }
            }
        }
        // The tables that the engine keeps besides the derived ones.
        assert!(made.remove("applied").is_some() && made.remove("holds").is_some());
        let names = |columns: &[tables::Column]| columns.iter().map(|column| column.name.to_owned()).collect();
        let wanted = tables::ALL.iter().map(|table| {
            let created = Created {
                columns: table.columns().map(|column| (column.name.to_owned(), column.kind.cql().to_owned())).collect(),
                partition_key: names(table.partition_key),
                clustering_key: names(table.clustering_key),
            };
            (table.name.to_owned(), created)
        });
        assert_eq!(made, wanted.collect());
    }

    /// The classes of `schemas/README.md`.
    const CLASSES: [&str; 5] = ["content", "identity", "metadata", "technical", "secret"];

    #[test]
    fn every_column_has_a_class() {
        let mut columns = 0;
        for migration in BASE.iter().chain(&DERIVED) {
            let mut in_table = false;
            for line in migration.text.lines() {
                let (code, class) = line.split_once("--").unwrap_or((line, ""));
                let column = in_table && code.starts_with("    ") && !code.contains("PRIMARY KEY");
                if column || added_column(code.trim()).is_some() {
                    let words = format!("{}: say of '{}' which of {CLASSES:?} it is", migration.name, code.trim());
                    assert!(CLASSES.contains(&class.trim()), "{words}");
                    columns += 1;
                }
                in_table = (in_table || code.starts_with("CREATE TABLE")) && !code.starts_with(')');
            }
        }
        assert!(columns > 100, "{columns}");
    }

    #[test]
    fn every_statement_can_be_run_again() {
        for migration in BASE.iter().chain(&DERIVED) {
            for statement in migration.statements("k") {
                let again = statement.contains("IF NOT EXISTS") || added_column(&statement).is_some();
                assert!(again, "{}: {statement}", migration.name);
            }
        }
        assert_eq!(added_column("ALTER TABLE k.sessions ADD token_family blob"), Some(("sessions", "token_family")));
        assert_eq!(added_column("ALTER TABLE k.sessions WITH comment = ''"), None);
    }

    #[test]
    fn only_what_both_servers_have() {
        for migration in BASE.iter().chain(&DERIVED) {
            for statement in migration.statements("k") {
                let statement = statement.to_lowercase();
                for word in ["counter", "materialized", "index", "static", "map<", "list<", "set<", "compaction"] {
                    assert!(!statement.contains(word), "{}: {word}", migration.name);
                }
            }
        }
    }
}
