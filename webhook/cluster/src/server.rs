//! What a server's configuration comes to.

pub mod words;
