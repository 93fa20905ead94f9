"""Matrix products."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .._table import torch_operator


def linear(x, weight, bias=None):
    # Contracted in place: what `topology_of` sees is one product of data and parameter.
    product = lax.dot_general(x, weight, (((x.ndim - 1,), (weight.ndim - 1,)), ((), ())))
    return product if bias is None else product + bias


torch_operator("aten.linear.default", single=linear)(linear)


@torch_operator(
    "aten.matmul.default",
    "aten.mm.default",
    "aten.bmm.default",
    "aten.mv.default",
    "aten.dot.default",
    "aten.vdot.default",
)
def matmul(x, y):
    return jnp.matmul(x, y)


@torch_operator("aten.addmm.default", "aten.addmv.default", "aten.baddbmm.default")
def addmm(x, a, b, beta=1, alpha=1):
    return _scaled(x, beta) + _scaled(jnp.matmul(a, b), alpha)


@torch_operator("aten.addbmm.default")
def addbmm(x, a, b, beta=1, alpha=1):
    return _scaled(x, beta) + _scaled(jnp.einsum("bij,bjk->ik", a, b), alpha)


@torch_operator("aten.addr.default")
def addr(x, a, b, beta=1, alpha=1):
    return _scaled(x, beta) + _scaled(jnp.outer(a, b), alpha)


def _scaled(x, factor):
    # A factor of 0 leaves a term out, whatever it holds.
    return x if factor == 1 else 0 if factor == 0 else factor * x


@torch_operator("aten.einsum.default")
def einsum(equation, operands, path=None):
    return jnp.einsum(equation.replace(" ", ""), *operands)


def _trilinear_single(a, b, c, expand_a, expand_b, expand_c, sum_dims, unroll_dim=1):
    def left(dims):
        return [dim - 1 for dim in dims if dim > 0]

    return trilinear(a, b, c, left(expand_a), left(expand_b), left(expand_c), left(sum_dims))


@torch_operator("aten._trilinear.default", single=_trilinear_single)
def trilinear(a, b, c, expand_a, expand_b, expand_c, sum_dims, unroll_dim=1):
    n = a.ndim + len(expand_a)
    factors = ((a, expand_a), (b, expand_b), (c, expand_c))
    given = ((factor, [i for i in range(n) if i not in new]) for factor, new in factors)
    kept = [i for i in range(n) if i not in sum_dims]
    # Weight and second input first: what `topology_of` sees is one product with the first.
    order = [(1, 2), (0, 1)]
    return jnp.einsum(*itertools.chain.from_iterable(given), kept, optimize=order)


@torch_operator("aten._cdist_forward.default", "aten._euclidean_dist.default")
def cdist(x, y, p=2.0, compute_mode=None):
    return _length(x[..., :, None, :] - y[..., None, :, :], p)


@torch_operator("aten._pdist_forward.default")
def pdist(x, p=2.0):
    first, second = np.triu_indices(len(x), 1)
    return _length(x[first] - x[second], p)


def _length(difference, p):
    difference = jnp.abs(difference)
    undefined = jnp.isnan(difference)
    if p == 0:
        return jnp.sum(jnp.where(undefined, difference, difference != 0), axis=-1)
    if p == jnp.inf:  # of which torch leaves out what is no number
        return jnp.max(jnp.where(undefined, 0, difference), axis=-1)
    total = jnp.sum(difference**p, axis=-1)
    # Equal points: the distance is 0, and so is the gradient.
    return jnp.where(total != 0, jnp.where(total != 0, total, 1) ** (1 / p), 0)


@torch_operator("aten.linalg_inv_ex.default")
def inv(x, check_errors=False):
    return jnp.linalg.inv(x), jnp.zeros(x.shape[:-2], jnp.int32)


@torch_operator("aten.linalg_pinv.atol_rtol_tensor")
def pinv(x, *, atol=None, rtol=None, hermitian=False):
    """Singular values up to the larger of `atol` and `rtol` times the largest count as 0."""
    if rtol is None:
        rtol = max(x.shape[-2:]) * jnp.finfo(x.dtype).eps if atol is None else 0.0
    if atol is not None:
        largest = jnp.linalg.norm(x, 2, axis=(-2, -1))
        rtol = jnp.maximum(rtol, atol / jnp.where(largest > 0, largest, 1))
    if hermitian:  # of which torch reads the lower triangle
        x = jnp.tril(x) + jnp.conj(jnp.matrix_transpose(jnp.tril(x, -1)))
    return jnp.linalg.pinv(x, rtol=rtol)


@torch_operator("aten.linalg_matrix_exp.default")
def matrix_exp(x):
    return jax.scipy.linalg.expm(x)


@torch_operator("aten._linalg_det.default")
def det(x):
    return jnp.linalg.det(x), *_lu(x)


@torch_operator("aten._linalg_slogdet.default")
def slogdet(x):
    return *jnp.linalg.slogdet(x), *_lu(x)


def _lu(x):
    lu, pivots, _ = lax.linalg.lu(x)
    return lu, pivots + 1


@torch_operator("aten._linalg_solve_ex.default")
def solve(a, b, *, left=True, check_errors=False):
    vector = b.ndim == a.ndim - 1
    b = b[..., None] if vector else b
    if left:
        x = jnp.linalg.solve(a, b)
    else:
        x = jnp.matrix_transpose(jnp.linalg.solve(jnp.matrix_transpose(a), jnp.matrix_transpose(b)))
    return x[..., 0] if vector else x, *_lu(a), jnp.zeros(a.shape[:-2], jnp.int32)


@torch_operator("aten._linalg_eigh.default")
def eigh(x, uplo="L", compute_v=True):
    return tuple(jnp.linalg.eigh(x, UPLO=uplo, symmetrize_input=False))


@torch_operator("aten._linalg_svd.default")
def svd(x, full_matrices=False, compute_uv=True, *, driver=None):
    if compute_uv:
        # Of a square matrix all vectors are there anyway, and JAX has the gradient of that form.
        full_matrices = full_matrices and x.shape[-2] != x.shape[-1]
        return tuple(jnp.linalg.svd(x, full_matrices=full_matrices))
    return jnp.zeros(0), jnp.linalg.svd(x, compute_uv=False), jnp.zeros(0)


@torch_operator("aten.linalg_qr.default")
def qr(x, mode="reduced"):
    if mode == "r":
        return jnp.zeros(0), jnp.linalg.qr(x, mode="r")
    return tuple(jnp.linalg.qr(x, mode=mode))


@torch_operator("aten.linalg_cholesky_ex.default")
def cholesky(x, upper=False, check_errors=False):
    factor = jnp.linalg.cholesky(x)
    factor = jnp.swapaxes(factor, -1, -2) if upper else factor
    return factor, jnp.zeros(x.shape[:-2], jnp.int32)


@torch_operator("aten.cholesky_solve.default")
def cholesky_solve(b, factor, upper=False):
    # By two triangular systems, which take leading axes.
    adjoint = jnp.conj(jnp.matrix_transpose(factor))
    first, second = (adjoint, factor) if upper else (factor, adjoint)
    half = solve_triangular(first, b, upper=False)
    return solve_triangular(second, half, upper=True)


@torch_operator("aten.cholesky_inverse.default")
def cholesky_inverse(factor, upper=False):
    identity = jnp.broadcast_to(jnp.eye(factor.shape[-1], dtype=factor.dtype), factor.shape)
    return cholesky_solve(identity, factor, upper)


@torch_operator("aten.linalg_solve_triangular.default")
def solve_triangular(a, b, *, upper, left=True, unitriangular=False):
    if not left:
        swapped = solve_triangular(
            jnp.swapaxes(a, -1, -2),
            jnp.swapaxes(b, -1, -2),
            upper=not upper,
            unitriangular=unitriangular,
        )
        return jnp.swapaxes(swapped, -1, -2)
    return jax.scipy.linalg.solve_triangular(a, b, lower=not upper, unit_diagonal=unitriangular)
