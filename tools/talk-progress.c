/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/talk-progress.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define MIB 1048576.
#define DENOISE 1
/* Least part of the work from which the remaining time follows. */
#define SHORTEST 0.05

void
talk_progress_init (TalkProgress *self, const TalkPlan *plan)
{
  const TalkStage stages[] = { { .stage = "audio", .name = "audio encoder" },
    { .stage = "denoise", .name = "denoiser" }, { .stage = "decode", .name = "decoder" } };

  *self = (TalkProgress){ .plan = plan,
    .shown = -1,
    .begin = g_get_monotonic_time (),
    .terminal = isatty (STDOUT_FILENO) };
  memcpy (self->stages, stages, sizeof stages);
  for (guint i = 0; i < G_N_ELEMENTS (self->stages); i++)
    self->stages[i].share = talk_plan_share (plan, self->stages[i].stage);
}

void
talk_progress_clear (TalkProgress *self)
{
  g_clear_pointer (&self->step, g_free);
}

/* Returns the frames of the window that is denoised. */
static guint
window_frames (const TalkProgress *self)
{
  const TalkPlan *plan = self->plan;
  const AvatarModelInfo *info = avatar_model_get_info (plan->model);
  guint left = plan->frames - MIN (self->stages[DENOISE].frames, plan->frames);

  if (plan->frames <= info->window_frames || plan->denoise.mode == AVATAR_DENOISE_MODE_CLIP)
    return left;
  return MIN (left, info->window_frames);
}

static double
work_done (const TalkProgress *self)
{
  double done = 0;

  for (guint i = 0; i < G_N_ELEMENTS (self->stages); i++) {
    double frames = self->stages[i].frames;

    if (i == DENOISE)
      frames += self->window_share * window_frames (self);
    done += self->stages[i].share * MIN (frames / self->plan->frames, 1);
  }
  return done;
}

static char *
describe_stages (const TalkProgress *self)
{
  g_autoptr (GString) text = g_string_new (NULL);

  for (guint i = 0; i < G_N_ELEMENTS (self->stages); i++) {
    const TalkStage *stage = &self->stages[i];

    /* the decoder counts all frames of its last latent */
    g_string_append_printf (text, "%s%s %u/%u", i ? ", " : "", stage->name,
        MIN (stage->frames, self->plan->frames), self->plan->frames);
    if (i == DENOISE && self->step)
      g_string_append_printf (text, " (%s)", self->step);
  }
  if (self->memory)
    g_string_append_printf (text, "; in use: %.0f MiB", ceil (self->memory / MIB));
  if (self->memory && self->budget)
    g_string_append_printf (text, " of %.0f", floor (self->budget / MIB));
  if (self->groups)
    g_string_append_printf (text, ", %u of %u groups of weights resident", self->resident,
        self->groups);
  return g_string_free (g_steal_pointer (&text), FALSE);
}

/* Returns the columns of the terminal, beyond which a line would not be written again. */
static guint
columns (void)
{
  struct winsize size;

  return ioctl (STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col - 1u : 79;
}

static void
print (TalkProgress *self, double done)
{
  double elapsed = (g_get_monotonic_time () - self->begin) * 1e-6;
  g_autofree char *stages = describe_stages (self);
  g_autofree char *left = done >= SHORTEST && done < 1
      ? g_strdup_printf (", about %.0f s left", ceil (elapsed * (1 - done) / done))
      : g_strdup ("");
  g_autofree char *text
      = g_strdup_printf ("Progress: %3.0f %%%s: %s", floor (100 * done), left, stages);

  if (self->terminal)
    g_print ("\r\033[K%.*s", columns (), text);
  else
    g_print ("%s\n", text);
  fflush (stdout);
}

/* Prints a line for each tenth of the work, or on a terminal each time. */
static void
show (TalkProgress *self)
{
  double done = work_done (self);
  gint tenth = (gint) (10 * done);

  if (!self->terminal && (tenth <= self->shown || done >= 1))
    return;
  self->shown = tenth;
  print (self, done);
}

static void
take_window (TalkProgress *self, const GstStructure *s)
{
  const char *name = gst_structure_get_string (s, "stage");
  guint frames = 0, streamed = 0;

  gst_structure_get (s, "frames", G_TYPE_UINT, &frames, "memory-now", G_TYPE_UINT64, &self->memory,
      "budget", G_TYPE_UINT64, &self->budget, NULL);
  for (guint i = 0; i < G_N_ELEMENTS (self->stages); i++) {
    if (g_strcmp0 (name, self->stages[i].stage) != 0)
      continue;
    self->stages[i].frames += frames;
    if (i == DENOISE)
      self->window_share = 0;
  }
  if (gst_structure_get (s, "resident-groups", G_TYPE_UINT, &self->resident, "streamed-groups",
          G_TYPE_UINT, &streamed, NULL))
    self->groups = self->resident + streamed;
}

static void
take_step (TalkProgress *self, GstMessage *message)
{
  const GstStructure *s = gst_message_get_structure (message);
  g_autofree char *code = NULL;
  g_autofree char *text = NULL;
  gint percent = 0;

  gst_message_parse_progress (message, NULL, &code, &text);
  if (strcmp (code, "denoise") != 0 && strcmp (code, "text") != 0)
    return;
  if (gst_structure_get_int (s, "percent", &percent) && strcmp (code, "denoise") == 0)
    self->window_share = percent / 100.;
  g_free (self->step);
  self->step = g_steal_pointer (&text);
}

void
talk_progress_take (TalkProgress *self, GstMessage *message)
{
  if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_PROGRESS)
    take_step (self, message);
  else if (gst_message_has_name (message, "avatar-window"))
    take_window (self, gst_message_get_structure (message));
  else
    return;
  show (self);
}

void
talk_progress_end (TalkProgress *self)
{
  print (self, 1);
  if (self->terminal)
    g_print ("\n");
}
