//! Namespaces, links and an independent probe for tests and benches.
