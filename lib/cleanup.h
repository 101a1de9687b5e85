/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_CLEANUP_H
#define QMR_CLEANUP_H

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Release at the end of the scope. Initialise where declared: fd to -1, pointers to NULL. Keep errno. */

static inline void qmr_cleanup_free(void *p)
{
	free(*(void **)p);
}

static inline void qmr_cleanup_close(const int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	errno = saved;
}

static inline void qmr_cleanup_fclose(FILE **f)
{
	int saved = errno;

	if (*f)
		fclose(*f);
	errno = saved;
}

static inline void qmr_cleanup_closedir(DIR **d)
{
	int saved = errno;

	if (*d)
		closedir(*d);
	errno = saved;
}

#define QMR_CLEANUP(f) __attribute__((cleanup(f)))
#define cleanup_free QMR_CLEANUP(qmr_cleanup_free)
#define cleanup_close QMR_CLEANUP(qmr_cleanup_close)
#define cleanup_fclose QMR_CLEANUP(qmr_cleanup_fclose)
#define cleanup_closedir QMR_CLEANUP(qmr_cleanup_closedir)

#endif
