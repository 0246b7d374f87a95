"""Layers packed from the published layouts of GPTQ and AWQ, field by field, independently of the code that reads them."""

import numpy as np


def random_matrix(bits, groups, *, symmetric, seed=0, rows=40, columns=192):
    """codes (N, K), zeros and scales (N, G)."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 2**bits, (rows, columns))
    zeros = np.full((rows, groups), 2 ** (bits - 1)) if symmetric else rng.integers(1, 2**bits, (rows, groups))
    return codes, zeros, rng.uniform(1e-3, 1e-2, (rows, groups)).astype(np.float16)


def values(codes, zeros, scales, group_of):
    """The formula of all three formats, in float64."""
    return (codes - zeros[:, group_of]) * scales.astype(np.float64)[:, group_of]


def words(fields, bits):
    """(n, m) fields to int32 (n, m * bits / 32), the first in the lowest bits, one by one."""
    each = 32 // bits
    fields = np.pad(fields, ((0, 0), (0, -fields.shape[1] % each))).astype(object)
    out = [
        [sum(int(f) << (bits * i) for i, f in enumerate(row[at : at + each])) for at in range(0, len(row), each)]
        for row in fields
    ]
    return np.array(out, np.uint64).astype(np.uint32).view(np.int32)


def gptq(codes, zeros, scales, group_of, bits, less_one=True, layer="x"):
    return {
        f"{layer}.qweight": np.ascontiguousarray(words(codes, bits).T),
        f"{layer}.qzeros": words(zeros.T - less_one, bits),
        f"{layer}.scales": np.ascontiguousarray(scales.T),
        f"{layer}.g_idx": group_of.astype(np.int32),
    }


def awq(codes, zeros, scales, layer="x"):
    def packed(fields):  # (m, out)
        order = fields.reshape(len(fields), -1, 8)[:, :, [0, 2, 4, 6, 1, 3, 5, 7]]
        return words(order.reshape(len(fields), -1), 4)

    return {
        f"{layer}.qweight": packed(codes.T),
        f"{layer}.qzeros": packed(zeros.T),
        f"{layer}.scales": np.ascontiguousarray(scales.T),
    }


def ordered(groups, columns=192):
    return np.arange(columns) // -(-columns // groups)
