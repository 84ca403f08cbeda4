/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Arithmetic of step-cache=forecast: which steps run the transformer, and the factors with which
 * the velocities of these steps give that of another step. Pure functions, which any thread may
 * call. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

/* Largest number of steps in a history, and of Chebyshev polynomials. */
#define AVATAR_FORECAST_MAX_HISTORY 10
#define AVATAR_FORECAST_MAX_DEGREE 6

/**
 * AvatarForecast: how a history is continued
 * @history: number of steps that are kept, 1 .. AVATAR_FORECAST_MAX_HISTORY
 * @degree: degree of the Chebyshev polynomials, at most AVATAR_FORECAST_MAX_DEGREE; limited to the
 *   number of steps in the history less one
 * @order: degree of the polynomial through the last @order + 1 steps, limited likewise
 * @ridge: penalty of the least-squares fit of the Chebyshev polynomials, at least 0
 * @blend: share of the fit, 0 .. 1; the rest is the polynomial through the last steps
 */
typedef struct
{
  guint history, degree, order;
  double ridge, blend;
} AvatarForecast;

/* Constants of step-cache=forecast. */
extern const AvatarForecast avatar_forecast_default;

/* Computes the factors of @n values at @times, 1 to AVATAR_FORECAST_MAX_HISTORY different ones in
 * -1 .. 1, whose sum of products is the forecast at the time @at. @weights: (out): [n]. */
void avatar_forecast_weights (double *weights, const double *times, guint n, double at,
    const AvatarForecast *forecast);

/* Chooses the full steps, at most @n_full, or as few as are possible: the first two of each phase,
 * and the last one. After each full step the window of steps that are forecast grows, as in
 * Spectrum, until sigma changes too much in it. @is_full: (out): [steps], TRUE for steps that run
 * the transformer; @sigmas: [steps + 1]; @is_first: [steps], TRUE for the first step of a phase,
 * which does not use the history before it */
void avatar_forecast_schedule (gboolean *is_full, const double *sigmas, const gboolean *is_first,
    guint steps, guint n_full);

/* Returns the time of step @i of @steps. */
double avatar_forecast_time (guint i, guint steps);

G_END_DECLS
