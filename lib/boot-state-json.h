/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_BOOT_STATE_JSON_H
#define QMR_BOOT_STATE_JSON_H

#include <jansson.h>

#include "boot-state.h"

/* The state as docs/boot-state.md gives it in JSON; the caller owns it. NULL when out of memory. */
json_t *qmr_state_to_json(const struct qmr_state *state);

/* One of its attempts. */
json_t *qmr_attempt_to_json(const struct qmr_attempt *attempt);

#endif
