// SPDX-License-Identifier: LGPL-2.1-or-later
// The tabs Video and State of the page.
const $ = id => document.getElementById(id);
const files = { image: null, audio: null };
let soundSeconds = 0, maxUpload = Infinity, shown = null, timer = 0;

// ------------------------------------------------------------------------------------- requests
export async function request(path, options) {
  let reply;
  try {
    reply = await fetch(path, options);
  } catch {
    throw { message: 'The server does not answer.' };
  }
  if (reply.status === 401)
    location.href = '/login';
  const body = await reply.json().catch(() => ({}));
  if (!reply.ok)
    throw body.error ?? { message: `The server answered ${reply.status}.` };
  return body;
}

export function errorText(error) {
  const parts = [error.found ?? error.message ?? String(error)];
  if (error.expected)
    parts.push(`Expected: ${error.expected}`);
  if (error.remedy)
    parts.push(`What to do: ${error.remedy}`);
  return parts.join('\n');
}

// Shows an error at the field that its text names.
function placeError(error) {
  const text = errorText(error);
  // A type may follow the name of the sound: "the sound file is of the type image/png".
  const place = /\b(sound|audio)\b/i.test(text) ? 'audio-error'
    : /\b(image|picture)\b/i.test(text) ? 'image-error' : 'job-error';
  $(place).textContent = text;
}

function clearErrors() {
  for (const id of ['image-error', 'audio-error', 'settings-error', 'job-error'])
    $(id).textContent = '';
}

// ----------------------------------------------------------------------------------------- tabs
const tabs = ['video', 'live', 'state'];

function selectTab(name) {
  for (const tab of tabs) {
    $(`tab-${tab}`).setAttribute('aria-selected', tab === name);
    $(`tab-${tab}`).tabIndex = tab === name ? 0 : -1;
    $(`${tab}-page`).hidden = tab !== name;
  }
  if (name === 'state')
    showState();
}

tabs.forEach((tab, i) => {
  $(`tab-${tab}`).addEventListener('click', () => selectTab(tab));
  $(`tab-${tab}`).addEventListener('keydown', event => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) {
      const next = tabs[(i + step + tabs.length) % tabs.length];
      selectTab(next);
      $(`tab-${next}`).focus();
    }
  });
});

// ---------------------------------------------------------------------------------------- files
// Lets a file be dropped on an area or chosen in its input.
export function fileArea(area, input, take) {
  $(input).addEventListener('change', () => $(input).files[0] && take($(input).files[0]));
  for (const type of ['dragenter', 'dragover'])
    $(area).addEventListener(type, event => {
      event.preventDefault();
      $(area).classList.add('over');
    });
  for (const type of ['dragleave', 'drop'])
    $(area).addEventListener(type, event => {
      event.preventDefault();
      $(area).classList.remove('over');
    });
  $(area).addEventListener('drop', event => event.dataTransfer.files[0] && take(event.dataTransfer.files[0]));
}

function takeFile(kind, file) {
  clearErrors();
  if (file.size > maxUpload) {
    $(`${kind}-error`).textContent = `The file has ${file.size} bytes; the server takes ${maxUpload}.`;
    return;
  }
  files[kind] = file;
  const preview = $(`${kind}-preview`);
  URL.revokeObjectURL(preview.src);
  preview.src = URL.createObjectURL(file);
  preview.hidden = false;
}

$('audio-preview').addEventListener('loadedmetadata', () => {
  const seconds = $('audio-preview').duration;
  soundSeconds = Number.isFinite(seconds) ? seconds : 0;
  showPlan();
});

let recorder = null;

async function record() {
  if (recorder) {
    recorder.stop();
    return;
  }
  clearErrors();
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    const pieces = [];
    recorder = new MediaRecorder(stream);
    recorder.ondataavailable = event => pieces.push(event.data);
    recorder.onstop = () => {
      stream.getTracks().forEach(track => track.stop());
      takeFile('audio', new File(pieces, 'recording', { type: recorder.mimeType }));
      recorder = null;
      $('record').textContent = 'Record';
      $('record').setAttribute('aria-pressed', 'false');
    };
    recorder.start();
    $('record').textContent = 'Stop recording';
    $('record').setAttribute('aria-pressed', 'true');
  } catch (error) {
    recorder = null;
    $('audio-error').textContent = `There is no microphone: ${error.message}`;
  }
}

// ----------------------------------------------------------------------------------------- plan
const settings = ['prompt', 'size', 'steps', 'seed', 'budget', 'model', 'profile'];

async function showPlan() {
  const query = new URLSearchParams();
  for (const name of settings)
    if ($(name).value && name !== 'prompt')
      query.set(name, $(name).value);
  if (soundSeconds)
    query.set('seconds', soundSeconds.toFixed(2));
  try {
    const plan = await request(`/api/plan?${query}`);
    $('settings-error').textContent = plan.fits ? ''
      : `The budget is too small; at least ${Math.ceil(plan.minimum_budget_mib)} MiB are needed.`;
    $('plan').textContent = `${plan.width}×${plan.height}, ${plan.steps} steps, ${plan.frames} frames`
      + `${soundSeconds ? '' : ' (of 5 s of sound)'}; `
      + `memory ${Math.ceil(Math.max(plan.device_mib, plan.host_mib))} MiB; `
      + (plan.seconds === null ? 'the time is known after the first job.' : `about ${plan.seconds.toFixed(1)} s.`);
  } catch (error) {
    $('plan').textContent = '';
    $('settings-error').textContent = errorText(error);
  }
}

// ----------------------------------------------------------------------------------------- jobs
async function startJob(event) {
  event.preventDefault();
  clearErrors();
  const form = new FormData();
  for (const kind of ['image', 'audio']) {
    if (!files[kind]) {
      $(`${kind}-error`).textContent = kind === 'image' ? 'Choose a portrait.' : 'Choose or record a sound.';
      $(kind).focus();
      return;
    }
    form.append(kind, files[kind]);
  }
  for (const name of settings)
    if ($(name).value)
      form.append(name, $(name).value);
  $('start').disabled = true;
  try {
    const job = await request('/api/jobs', { method: 'POST', body: form });
    watch(job.id);
  } catch (error) {
    placeError(error);
  }
  $('start').disabled = false;
}

function watch(id) {
  clearTimeout(timer);
  shown = id;
  $('result').hidden = false;
  $('video').removeAttribute('src');
  $('video').hidden = $('download').hidden = $('picture').hidden = true;
  $('result').dataset.pictures = 0;
  update();
}

function showResult(job) {
  const running = job.state === 'queued' || job.state === 'running';
  const times = job.timings;
  $('result-title').textContent = `Job ${job.id.slice(0, 8)}: ${job.state}`;
  $('progress').value = job.progress;
  $('progress').hidden = $('cancel').hidden = !running;
  $('phase').textContent = job.state === 'queued' ? `${job.position} jobs before it`
    : job.state === 'running' ? job.phase ?? ''
    : job.state === 'done' ? `${job.frames_done} frames in ${times.run.toFixed(1)} s,`
      + ` the first picture after ${times.first_picture?.toFixed(1)} s` : '';
  $('result-error').textContent = job.error ? errorText(job.error) : '';
  $('warnings').replaceChildren(...job.warnings.map(text => item('li', `Warning: ${text}`)));
  if (job.state === 'running' && job.pictures > Number($('result').dataset.pictures)) {
    $('result').dataset.pictures = job.pictures;
    $('picture').src = `/api/jobs/${job.id}/picture?${job.pictures}`;
    $('picture').hidden = false;
  }
  if (job.state === 'done' && !$('video').hasAttribute('src')) {
    $('picture').hidden = true;
    $('video').src = `/api/jobs/${job.id}/video`;
    $('video').hidden = $('download').hidden = false;
    $('download').href = `/api/jobs/${job.id}/video?download=1`;
  }
  return running;
}

async function update() {
  const id = shown;
  try {
    const job = await request(`/api/jobs/${id}`);
    if (id !== shown)
      return;
    if (showResult(job))
      timer = setTimeout(update, 300);
    else
      showPlan();
    showJobs();
  } catch (error) {
    $('result-error').textContent = errorText(error);
  }
}

function item(tag, text, className = '') {
  const element = document.createElement(tag);
  element.textContent = text;
  element.className = className;
  return element;
}

function jobRow(job) {
  const row = document.createElement('li');
  const show = item('button', 'Show'), remove = item('button', job.state === 'queued'
    || job.state === 'running' ? 'Cancel' : 'Remove');
  const when = new Date(job.created).toLocaleTimeString();
  show.setAttribute('aria-label', `Show job ${job.id.slice(0, 8)}`);
  remove.setAttribute('aria-label', `${remove.textContent} job ${job.id.slice(0, 8)}`);
  show.addEventListener('click', () => watch(job.id));
  remove.addEventListener('click', () => deleteJob(job.id));
  row.append(item('span', `${when} ${job.state}${job.settings.prompt ? `: ${job.settings.prompt}` : ''}`, 'what'),
    show, remove);
  return row;
}

let rows = '';

async function showJobs() {
  const { jobs } = await request('/api/jobs');
  const key = JSON.stringify(jobs.map(job => [job.id, job.state]));
  // Rows that have not changed keep the focus of the keyboard.
  if (key === rows)
    return;
  rows = key;
  $('jobs').replaceChildren(...jobs.map(jobRow));
}

async function deleteJob(id) {
  await request(`/api/jobs/${id}`, { method: 'DELETE' }).catch(() => null);
  showJobs();
}

// ---------------------------------------------------------------------------------------- state
async function showState() {
  const state = await request('/api/state');
  maxUpload = state.max_upload;
  $('model').replaceChildren(...state.models.map(model => new Option(model.name, model.name)));
  $('models').replaceChildren(...state.models.map(model => item('li', model.missing
    ? `${model.name}: ${model.missing}`
    : `${model.name}: found, ${model.width}×${model.height}, ${model.steps} steps`, model.missing ? 'error' : '')));
  $('devices').replaceChildren(...state.devices.flatMap(device => [
    ['Device', device.missing ?? device.description],
    ['Memory', `${Math.round(device.memory_mib)} MiB now, ${Math.round(device.peak_mib)} MiB at most`],
    ['Budget', device.budget_mib ? `${Math.round(device.budget_mib)} MiB` : 'none'],
    ['Weight groups', `${device.resident_groups} resident, ${device.streamed_groups} streamed`],
  ].flatMap(([name, value]) => [item('dt', name), item('dd', value)])));
  $('queue').textContent = `${state.queue.running} running, ${state.queue.waiting} waiting,`
    + ` at most ${state.queue.bound}.`;
}

if ($('job')) {
  fileArea('image-drop', 'image', file => takeFile('image', file));
  fileArea('audio-drop', 'audio', file => takeFile('audio', file));
  $('record').addEventListener('click', record);
  $('job').addEventListener('submit', startJob);
  $('cancel').addEventListener('click', () => deleteJob(shown));
  for (const name of settings)
    $(name).addEventListener('change', showPlan);
  showState().then(showPlan, error => $('job-error').textContent = errorText(error));
  showJobs().catch(() => null);
}
