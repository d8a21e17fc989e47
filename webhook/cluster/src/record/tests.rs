//! Proposals are judged by what the record knows.
