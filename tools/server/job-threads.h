/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Runner of jobs: threads of this process. */
#pragma once

#include "tools/server/job-runner.h"

G_BEGIN_DECLS

/* Runs a job whose state is running, in a thread, until it ends, or until avatar_job_is_wanted() is
 * FALSE. Returns FALSE with a problem if it has failed. */
typedef gboolean (*AvatarJobFunc) (AvatarJob *job, gpointer user_data, AvatarProblem **problem);

/* Runs @n_threads jobs at the same time. The queue frees the runner. */
AvatarJobRunner *avatar_job_threads_new (guint n_threads, AvatarJobFunc func, gpointer user_data);

G_END_DECLS
