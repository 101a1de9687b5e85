/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* nopl 0x716d7201(%rax): does nothing, and nobody else has reason to run it. */
#define QMR_MARK_BYTES 0x0f, 0x1f, 0x80, 0x01, 0x72, 0x6d, 0x71
