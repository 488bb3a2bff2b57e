//! Arithmetic in Fr, the scalars of BLS12-381, and Lagrange coefficients. All of the crate's `unsafe` is here.
//!
//! The safe interface of `blst` has points and signatures but no scalar arithmetic. Its C functions for it read and
//! write fixed-size structs through pointers, keep no state, and allow the result to be one of the operands. Each call
//! below passes references to whole, initialised values on the stack: valid, aligned and alive for the call.
#![allow(unsafe_code)]

use std::ops::{Add, Mul, Sub};

use blst::{
    blst_fr, blst_fr_add, blst_fr_from_scalar, blst_fr_from_uint64, blst_fr_inverse, blst_fr_mul,
    blst_fr_sub, blst_scalar, blst_scalar_fr_check, blst_scalar_from_bendian, blst_scalar_from_fr,
};
use zeroize::Zeroize;

/// Bits of a scalar.
pub(super) const SCALAR_BITS: usize = 255;

/// An element of Fr.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Fr(blst_fr);

impl Fr {
    pub(super) const ZERO: Fr = Fr(blst_fr { l: [0; 4] });

    pub(super) fn from_u64(n: u64) -> Fr {
        Fr::from_u128(u128::from(n))
    }

    pub(super) fn from_u128(n: u128) -> Fr {
        let limbs = [n as u64, (n >> 64) as u64, 0, 0];
        let mut out = blst_fr::default();
        // SAFETY: reads four 64-bit limbs, which `limbs` has, and writes `out`. Any value below 2²⁵⁵ is reduced.
        unsafe { blst_fr_from_uint64(&mut out, limbs.as_ptr()) };
        Fr(out)
    }

    /// The scalar of 32 big-endian bytes, if it is below the order.
    pub(super) fn from_be_bytes(bytes: &[u8; 32]) -> Option<Fr> {
        let mut scalar = blst_scalar::default();
        let mut out = blst_fr::default();
        // SAFETY: `bytes` has the 32 bytes that are read; the other pointers are to whole structs.
        let in_field = unsafe {
            blst_scalar_from_bendian(&mut scalar, bytes.as_ptr());
            blst_scalar_fr_check(&scalar)
        };
        if in_field {
            // SAFETY: both pointers are to whole structs, and the scalar is below the order.
            unsafe { blst_fr_from_scalar(&mut out, &scalar) };
        }
        scalar.b.zeroize();
        in_field.then_some(Fr(out))
    }

    /// 32 little-endian bytes, as multi-scalar multiplication takes them.
    pub(super) fn to_le_bytes(self) -> [u8; 32] {
        let mut scalar = blst_scalar::default();
        // SAFETY: both pointers are to whole structs.
        unsafe { blst_scalar_from_fr(&mut scalar, &self.0) };
        scalar.b
    }

    /// 1/self; zero for zero.
    fn inverse(self) -> Fr {
        let mut out = blst_fr::default();
        // SAFETY: both pointers are to whole structs.
        unsafe { blst_fr_inverse(&mut out, &self.0) };
        Fr(out)
    }
}

impl Add for Fr {
    type Output = Fr;

    fn add(self, other: Fr) -> Fr {
        let mut out = blst_fr::default();
        // SAFETY: the three pointers are to whole structs.
        unsafe { blst_fr_add(&mut out, &self.0, &other.0) };
        Fr(out)
    }
}

impl Sub for Fr {
    type Output = Fr;

    fn sub(self, other: Fr) -> Fr {
        let mut out = blst_fr::default();
        // SAFETY: the three pointers are to whole structs.
        unsafe { blst_fr_sub(&mut out, &self.0, &other.0) };
        Fr(out)
    }
}

impl Mul for Fr {
    type Output = Fr;

    fn mul(self, other: Fr) -> Fr {
        let mut out = blst_fr::default();
        // SAFETY: the three pointers are to whole structs.
        unsafe { blst_fr_mul(&mut out, &self.0, &other.0) };
        Fr(out)
    }
}

impl Zeroize for Fr {
    fn zeroize(&mut self) {
        self.0.l.zeroize();
    }
}

/// The value at `x` of the polynomial with these coefficients, lowest first (Horner's rule).
pub(super) fn evaluate(coefficients: &[Fr], x: Fr) -> Fr {
    coefficients
        .iter()
        .rev()
        .fold(Fr::ZERO, |value, &c| value * x + c)
}

/// For distinct `points`, the `λ_i` with `p(0) = Σ λ_i · p(points[i])` for every polynomial `p` of a degree below their
/// number: `λ_i = Π_{j≠i} x_j / (x_j − x_i)`. None of the points is 0.
pub(super) fn lagrange_at_zero(points: &[u64]) -> Vec<Fr> {
    let points: Vec<Fr> = points.iter().map(|&x| Fr::from_u64(x)).collect();
    let product = points.iter().fold(Fr::from_u64(1), |p, &x| p * x);
    // λ_i = (Π_j x_j) / (x_i · Π_{j≠i} (x_j − x_i))
    let weights = inverse_differences(&points);
    let inverses = invert_all(&points);
    weights
        .into_iter()
        .zip(inverses)
        .map(|(weight, inverse)| product * inverse * weight)
        .collect()
}

/// `1 / Π_{j≠i} (x_j − x_i)` for each of the distinct points.
pub(super) fn inverse_differences(points: &[Fr]) -> Vec<Fr> {
    let differences: Vec<Fr> = points
        .iter()
        .enumerate()
        .map(|(i, &x)| {
            let others = points.iter().enumerate().filter(|&(j, _)| j != i);
            others.fold(Fr::from_u64(1), |d, (_, &other)| d * (other - x))
        })
        .collect();
    invert_all(&differences)
}

/// The inverses of elements that aren't zero, with one inversion for all (Montgomery's trick).
fn invert_all(elements: &[Fr]) -> Vec<Fr> {
    debug_assert!(!elements.contains(&Fr::ZERO), "zero has no inverse");
    let mut before = Vec::with_capacity(elements.len());
    let mut product = Fr::from_u64(1);
    for &element in elements {
        before.push(product);
        product = product * element;
    }
    let mut inverse = product.inverse();
    let mut inverses = before;
    for (out, &element) in inverses.iter_mut().zip(elements).rev() {
        *out = *out * inverse;
        inverse = inverse * element;
    }
    inverses
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fr(n: u64) -> Fr {
        Fr::from_u64(n)
    }

    #[test]
    fn arithmetic_of_small_numbers() {
        assert!(fr(3) + fr(4) == fr(7));
        assert!(fr(3) - fr(4) + fr(1) == Fr::ZERO);
        assert!(fr(3) * fr(4) == fr(12));
        assert!(fr(3).inverse() * fr(3) == fr(1));
        assert!(Fr::ZERO.inverse() == Fr::ZERO);
        assert!(Fr::from_u128(1 << 100) == fr(1 << 50) * fr(1 << 50));
        assert_eq!(fr(258).to_le_bytes()[..3], [2, 1, 0]);
    }

    #[test]
    fn bytes_not_below_the_order_are_no_scalar() {
        let order = "73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001";
        let mut bytes: [u8; 32] = hex::decode(order).unwrap().try_into().unwrap();
        assert!(Fr::from_be_bytes(&bytes).is_none());
        bytes[31] = 0;
        assert!(Fr::from_be_bytes(&bytes).unwrap() + fr(1) == Fr::ZERO);
        assert!(Fr::from_be_bytes(&[0xff; 32]).is_none());
    }

    #[test]
    fn a_polynomial_is_found_again_from_as_many_values_as_it_has_coefficients() {
        // 5 + 7x + 11x²: values at 1, 2, 4 are 23, 63, 209, worked out by hand.
        let coefficients = [fr(5), fr(7), fr(11)];
        let values = [fr(23), fr(63), fr(209)];
        let points = [1, 2, 4];
        for (x, value) in points.into_iter().zip(values) {
            assert!(evaluate(&coefficients, fr(x)) == value);
        }
        let lambdas = lagrange_at_zero(&points);
        // λ = 8/3, −2, 1/3: likewise.
        assert!(lambdas[0] * fr(3) == fr(8));
        assert!(lambdas[1] + fr(2) == Fr::ZERO);
        assert!(lambdas[2] * fr(3) == fr(1));
        let at_zero = lambdas
            .iter()
            .zip(values)
            .fold(Fr::ZERO, |sum, (&lambda, value)| sum + lambda * value);
        assert!(at_zero == fr(5));
    }

    #[test]
    fn one_value_alone_is_the_constant() {
        assert!(lagrange_at_zero(&[9]) == [fr(1)]);
    }
}
