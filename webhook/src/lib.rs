//! Mooring: admission and registry.
