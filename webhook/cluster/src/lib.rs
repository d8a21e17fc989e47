//! What Mooring knows of Redis and Valkey Cluster.
