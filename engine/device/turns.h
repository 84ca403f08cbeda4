/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Turns: the order in which stages compute on a device that more stages share than it can run at
 * full speed. The stage with the earliest deadline is next. All functions are thread-safe. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

/* Deadline of a stage whose output nobody waits for in real time. */
#define AVATAR_NO_DEADLINE G_MAXINT64

typedef struct _AvatarTurns AvatarTurns;

/* Makes turns of which @limit may run at the same time. Free with avatar_turns_free(). */
AvatarTurns *avatar_turns_new (guint limit);
void avatar_turns_free (AvatarTurns *self);

/**
 * avatar_turns_begin:
 * @deadline: monotonic time in microseconds at which the result is needed, or AVATAR_NO_DEADLINE
 * @cancelled: (atomic): ends the wait when set
 *
 * Waits until a turn is free and no waiting stage has an earlier deadline. Stages with the same
 * deadline come in the order of their calls. A caller must not wait for memory, or for another
 * stage, before avatar_turns_end(): that stage may be waiting for a turn.
 *
 * Returns: %TRUE if a turn has begun, %FALSE if *@cancelled was set meanwhile
 */
gboolean avatar_turns_begin (AvatarTurns *self, gint64 deadline, const gint *cancelled);
/* Ends the turn. */
void avatar_turns_end (AvatarTurns *self);
/* Returns the number of stages that wait for a turn. */
guint avatar_turns_get_n_waiting (AvatarTurns *self);

G_END_DECLS
