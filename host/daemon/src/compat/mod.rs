//! What flannel's users and tools rely on, byte for byte.

pub mod subnet_env;
