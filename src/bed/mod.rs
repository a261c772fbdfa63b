//! A private place for real connections.
