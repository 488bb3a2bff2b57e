//! Signatures, the coin and the seal of Violeta
