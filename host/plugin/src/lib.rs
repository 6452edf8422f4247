//! twill-plugin
