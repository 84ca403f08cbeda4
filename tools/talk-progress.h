/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Progress of a run of pipelines/talk, on standard output: share of the work, remaining time, and
 * what each stage has done and holds. */
#pragma once

#include "tools/talk-plan.h"

G_BEGIN_DECLS

/* One stage. @share: its part of the work; @frames: video frames that are done */
typedef struct
{
  const char *stage, *name;
  double share;
  guint frames;
} TalkStage;

/**
 * TalkProgress:
 * @stages: the stages, in the order of the data
 * @step: the denoiser's current work in words; %NULL: none so far
 * @window_share: part of the current window that is denoised
 * @memory, @budget: memory in use on the device and its budget, in bytes; 0: none
 * @resident, @groups: groups of weights on the GPU, and all; 0: not on a GPU
 * @shown: tenths of the work that were printed; -1: none
 */
typedef struct
{
  const TalkPlan *plan;
  TalkStage stages[3];
  char *step;
  double window_share;
  guint64 memory, budget;
  guint resident, groups;
  gint64 begin;
  gint shown;
  gboolean terminal;
} TalkProgress;

/* @plan must outlive @self. Prints the first line. */
void talk_progress_init (TalkProgress *self, const TalkPlan *plan);
void talk_progress_clear (TalkProgress *self);
/* Takes a message of the bus, and prints a line if it shows progress. */
void talk_progress_take (TalkProgress *self, GstMessage *message);
/* Prints the last line. */
void talk_progress_end (TalkProgress *self);

G_END_DECLS
