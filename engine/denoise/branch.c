/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Guidance on two members of a device group. The first member computes the branch with audio and
 * the step, the second one the branch without audio, in a thread of its own. In each step the
 * latents go to the second member, and its velocity comes back, through host memory: 18 MB each at
 * 704x768, which take milliseconds in a step of seconds. Operations and their order are those of
 * one device, and so are the results. */
#include "engine/denoise/denoiser-private.h"
#include "engine/device/device.h"
#include "engine/weights/placement.h"

/* Computes the step of the branch. The data is the peer. */
static gpointer
run_step (gpointer data)
{
  AvatarDenoiser *self = data;
  AvatarOps *ops = self->memory.ops;

  avatar_op_upload (ops, self->run.x, self->run.host);
  avatar_window_branches (&self->window, ops, self->run.v, self->run.x, self->run.i,
      self->run.position);
  avatar_op_download (ops, self->run.host, self->run.v);
  return NULL;
}

/* Starts a step of the branch. The data is the leader. */
static void
begin_step (gpointer data, AvatarOps *ops, AvatarTensor x, guint i, AvatarWindowPosition position)
{
  AvatarDenoiser *peer = ((AvatarDenoiser *) data)->peer;

  avatar_op_download (ops, peer->run.host, x);
  if (!avatar_ops_running (ops))
    return;
  peer->window.skips = ((AvatarDenoiser *) data)->window.skips;
  peer->run.i = i;
  peer->run.position = position;
  peer->run.thread = g_thread_new ("avatar-branch", run_step, peer);
}

/* Waits for the step of the branch. The first failure of both members is that of @ops. */
static void
end_step (gpointer data, AvatarOps *ops, AvatarTensor velocity)
{
  AvatarDenoiser *peer = ((AvatarDenoiser *) data)->peer;
  g_autoptr (GError) error = NULL;

  if (!peer->run.thread)
    return;
  g_thread_join (g_steal_pointer (&peer->run.thread));
  if (avatar_ops_check (peer->memory.ops, &error)) {
    avatar_op_upload (ops, velocity, peer->run.host);
  } else if (!ops->error) {
    g_prefix_error (&error, "%s: ", avatar_device_get_name (peer->device));
    ops->error = g_steal_pointer (&error);
  }
}

gboolean
avatar_denoiser_ensure_peer (AvatarDenoiser *self, GError **error)
{
  g_autoptr (AvatarDenoiser) peer = NULL;

  if (!avatar_denoiser_is_split (self) || self->peer)
    return TRUE;
  peer = avatar_denoiser_open_peer (self, error);
  if (!peer || !avatar_denoiser_allocate (peer, error))
    return FALSE;
  peer->run.host = g_new (float, avatar_latent_shape_n (&self->stream.shape));
  g_atomic_pointer_set (&self->peer, g_steal_pointer (&peer));
  return TRUE;
}

/* Computes the constants of the branch in its arena. Called with the lock of the peer. */
static gboolean
compute_constants (AvatarDenoiser *self, GError **error)
{
  AvatarDenoiserMemory *memory = &self->memory;
  gboolean was_suspended = memory->suspended; /* then acquiring sets the schedule, too */
  AvatarStepBuffers buffers;

  if (!avatar_denoiser_load_weights (self, error)
      || !avatar_denoiser_memory_acquire (memory, 0, error))
    return FALSE;
  avatar_ops_release (memory->ops, 0);
  if (!was_suspended
      && !avatar_weights_set_schedule (memory->weights, memory->ops, memory->forward, error))
    return FALSE;
  avatar_window_begin (&self->window, memory->ops);
  buffers = avatar_step_buffers_new (memory->ops, &self->stream.shape);
  self->run.x = buffers.x;
  self->run.v = buffers.v;
  memory->has_constants = avatar_ops_check (memory->ops, error);
  return memory->has_constants;
}

gboolean
avatar_denoiser_begin_peer (AvatarDenoiser *self, GError **error)
{
  AvatarDenoiser *peer = self->peer;

  self->window.peer = (AvatarBranchPeer){ 0 };
  if (!avatar_denoiser_is_split (self))
    return TRUE;
  g_mutex_lock (&peer->memory.exec_lock);
  avatar_window_follow (&peer->window, &self->window);
  if (!peer->memory.has_constants && !compute_constants (peer, error)) {
    g_mutex_unlock (&peer->memory.exec_lock);
    return FALSE;
  }
  self->window.peer = (AvatarBranchPeer){ begin_step, end_step, self };
  return TRUE;
}

void
avatar_denoiser_end_peer (AvatarDenoiser *self)
{
  AvatarMemoryClient *client;

  if (!self->window.peer.begin)
    return;
  self->window.peer = (AvatarBranchPeer){ 0 };
  client = self->peer->memory.client;
  if (client && avatar_memory_client_has_waiters (client))
    avatar_denoiser_memory_release (&self->peer->memory);
  g_mutex_unlock (&self->peer->memory.exec_lock);
}

gboolean
avatar_denoiser_plan_peer_weights (AvatarDenoiser *self, GError **error)
{
  gboolean ok;

  if (!self->peer)
    return TRUE;
  g_mutex_lock (&self->peer->memory.exec_lock);
  avatar_denoiser_memory_release (&self->peer->memory);
  ok = avatar_denoiser_plan_weights (self->peer, error);
  g_mutex_unlock (&self->peer->memory.exec_lock);
  return ok;
}

gboolean
avatar_denoiser_plan_peer (AvatarDenoiser *self, GError **error)
{
  AvatarDenoiser *peer = self->peer;
  AvatarMemoryPlan plan;
  gboolean ok;

  if (!avatar_denoiser_is_split (self) || !peer)
    return avatar_denoiser_ensure_peer (self, error);
  g_mutex_lock (&peer->memory.exec_lock);
  avatar_denoiser_memory_release (&peer->memory);
  avatar_denoiser_init_window (peer);
  ok = avatar_denoiser_plan_memory (peer, avatar_device_get_available_bytes (peer->device),
      avatar_placement_available_bytes (peer->device), &plan, error);
  if (ok)
    avatar_denoiser_resize (peer, plan.arena_bytes);
  g_mutex_unlock (&peer->memory.exec_lock);
  return ok;
}

void
avatar_denoiser_reset_cache (AvatarDenoiser *self, guint latents, guint windows)
{
  avatar_window_reset_caches (&self->window, latents, windows);
  if (self->window.peer.begin)
    avatar_window_reset_caches (&self->peer->window, latents, windows);
}
