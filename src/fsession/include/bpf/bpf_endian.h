/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Byte order of the network, which is big endian. BPF programs of this package are little endian.
 */
#ifndef FSESSION_BPF_ENDIAN_H
#define FSESSION_BPF_ENDIAN_H

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "compile for little-endian BPF"
#endif

/* Of constants too, so that case labels and initialisers may use them. */
#define __swap16(x) ((__u16)__builtin_bswap16((__u16)(x)))
#define __swap32(x) ((__u32)__builtin_bswap32((__u32)(x)))
#define __swap64(x) ((__u64)__builtin_bswap64((__u64)(x)))

#define bpf_ntohs(x) __swap16(x)
#define bpf_htons(x) __swap16(x)
#define bpf_ntohl(x) __swap32(x)
#define bpf_htonl(x) __swap32(x)

#define bpf_be16_to_cpu(x) __swap16(x)
#define bpf_cpu_to_be16(x) __swap16(x)
#define bpf_be32_to_cpu(x) __swap32(x)
#define bpf_cpu_to_be32(x) __swap32(x)
#define bpf_be64_to_cpu(x) __swap64(x)
#define bpf_cpu_to_be64(x) __swap64(x)

#endif
