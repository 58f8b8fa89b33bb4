// The texts of the pages in English and Simplified Chinese. A failure has a title and advice under its type.

const EN = {
  skip: "Skip to choosing a picture",
  links: "Links",
  intake: "Choose pictures",
  pictures: "Pictures",
  in_flight: "In progress",
  rate: "Requests/s",
  refused: "Refused",
  refused_value: "{total} ({rate}/s)",
  invite: "Drop pictures here",
  limits: "{formats}, up to {size} MB each",
  choose: "Choose pictures",
  take: "Take a picture",
  shoot: "Capture",
  paste: "or paste one with Ctrl+V",
  pipeline: "Pipeline",
  options: "Options",
  caution: "Age and gender are estimated from the appearance of a face; ages are often wrong by years. Do not base decisions about a person on them.",
  privacy: "The server does not identify people. Pictures are sent to this server only and are not stored.",
  key_title: "API key required",
  key_why: "This server requires an API key. The page keeps it in memory until you close it.",
  key_wrong: "This key is not valid.",
  key: "API key",
  cancel: "Cancel",
  go: "Continue",
  no_camera: "The camera cannot be used: {why}",
  queued: "Waiting",
  uploading: "Uploading, {percent} %",
  working: "Processing",
  drawing: "Drawing the result",
  remove: "Remove {name}",
  again: "Try again",
  now: "Try now",
  stop: "Stop trying",
  again_in: "Trying again in {seconds} s",
  full: "{in_flight} of {limit} slots are in use.",
  server_said: "Message from the server: {detail}",
  found: "{count} faces",
  found_one: "1 face",
  found_none: "No faces found",
  found_person: "1 person",
  found_nobody: "No person found",
  found_none_advice: "The option detail = high also finds small faces.",
  done: "Done",
  face: "Face",
  gender: "Gender",
  age: "Age",
  interval: "Range",
  confidence: "Confidence",
  female: "Female",
  male: "Male",
  unknown: "Unknown",
  describe: "Face {number}: {words}",
  years: "{years} years",
  between: "{low} to {high}",
  sure: "{percent} % confidence",
  faces_of: "Faces in {name}",
  interval_note: "The true age is within the range for about four of five faces.",
  stages: "Time on the server",
  upload: "upload",
  queue: "queue",
  decode: "decode",
  detect: "detect",
  attributes: "attributes",
  pose: "pose",
  hands: "hands",
  convert: "convert",
  encode: "encode",
  total: "{ms} ms in total",
  download: "Download with boxes",
  download_drawn: "Download the picture",
  after_of: "Result for {name}",
  before_after: "{name}, before and after",
  json: "JSON",
  copy: "Copy",
  copied: "Copied",
  result_of: "JSON result for {name}",
  overloaded: ["The server is busy", "New requests are refused until a slot is free."],
  draining: ["The server is shutting down", "Another instance may take over soon."],
  storage: ["No disk space for uploads", "Try again when other uploads have finished, or ask the operator to free disk space."],
  unavailable: ["The server is not available", "It is restarting its workers."],
  deadline: ["The server is too busy", "The result would not be ready in time."],
  "rate-limited": ["Too many requests", "You have reached your limit. The page continues as soon as the limit allows."],
  unauthorized: ["API key required", "The server accepts only requests with a valid key."],
  "upload-too-large": ["The picture is too large", "Send a smaller file: save it with a lower quality or fewer pixels."],
  "unsupported-media": ["This file type is not accepted", "The content of the file counts, not its name. Save the picture as JPEG or PNG."],
  "unreadable-image": ["The picture is damaged", "The file is incomplete or has errors. Open the picture in an image editor and save it again."],
  "too-many-pixels": ["The picture has too many pixels", "Scale it down and try again."],
  "too-blurred": ["The picture is too blurred", "Choose a sharper picture."],
  "too-complex": ["The picture takes too long to decode", "Save it again as a plain (baseline) JPEG."],
  "upload-timeout": ["The upload took too long", "The connection is too slow for this file. Try a smaller one."],
  "bad-option": ["An option is not valid", "Correct it under Options."],
  "no-image": ["The file is empty", "Choose another file."],
  "not-acceptable": ["This pipeline does not support the requested format", "Choose another pipeline."],
  "not-found": ["This pipeline does not exist on the server", "Reload the page."],
  "deadline-exceeded": ["The result was not ready in time", "Try again when the server is less busy."],
  internal: ["Internal server error", "The cause is the server, not the picture."],
  network: ["The server cannot be reached", "Check that the server is running and that this computer is online."],
  other: ["The request failed", "The server answered with status {status}."],
  // For the page /docs.
  send: "Send",
  parameters: "Parameters",
  body: "Request body",
  responses: "Responses",
  try_it: "Try it",
  picture: "Picture",
  accept: "Format of the answer",
  answered: "Answered {status} in {ms} ms",
  schemas: "Schemas",
  raw: "openapi.json",
  home: "Try it with a picture",
  example: "Example",
  required: "required",
  default_is: "default: {value}",
  headers: "Headers",
};

const ZH = {
  skip: "跳到选择图片",
  links: "链接",
  intake: "选择图片",
  pictures: "图片",
  in_flight: "处理中",
  rate: "请求/秒",
  refused: "已拒绝",
  refused_value: "{total}（{rate}/秒）",
  invite: "把图片拖到这里",
  limits: "{formats}，每张不超过 {size} MB",
  choose: "选择图片",
  take: "拍照",
  shoot: "拍摄",
  paste: "或按 Ctrl+V 粘贴",
  pipeline: "处理方式",
  options: "选项",
  caution: "年龄和性别只是根据面部外观的估计，年龄常有数岁误差。请勿据此对他人作出决定。",
  privacy: "服务器不识别身份。图片只发送到本服务器，且不会保存。",
  key_title: "需要 API 密钥",
  key_why: "本服务器需要 API 密钥。密钥只保存在此页面的内存中，关闭页面后即清除。",
  key_wrong: "此密钥无效。",
  key: "API 密钥",
  cancel: "取消",
  go: "继续",
  no_camera: "无法使用摄像头：{why}",
  queued: "等待中",
  uploading: "正在上传，{percent} %",
  working: "正在处理",
  drawing: "正在绘制结果",
  remove: "移除 {name}",
  again: "重试",
  now: "立即重试",
  stop: "停止重试",
  again_in: "{seconds} 秒后重试",
  full: "{limit} 个处理位中已使用 {in_flight} 个。",
  server_said: "服务器消息：{detail}",
  found: "{count} 张人脸",
  found_one: "1 张人脸",
  found_none: "没有找到人脸",
  found_person: "1 个人",
  found_nobody: "没有找到人",
  found_none_advice: "选项 detail = high 也能找到较小的人脸。",
  done: "完成",
  face: "人脸",
  gender: "性别",
  age: "年龄",
  interval: "范围",
  confidence: "可信度",
  female: "女",
  male: "男",
  unknown: "未知",
  describe: "第 {number} 张人脸：{words}",
  years: "{years} 岁",
  between: "{low} 至 {high} 岁",
  sure: "可信度 {percent} %",
  faces_of: "{name} 中的人脸",
  interval_note: "真实年龄有五分之四的可能落在此范围内。",
  stages: "服务器用时",
  upload: "上传",
  queue: "排队",
  decode: "解码",
  detect: "检测",
  attributes: "属性",
  pose: "姿态",
  hands: "手部",
  convert: "转换",
  encode: "编码",
  total: "共 {ms} ms",
  download: "下载标注图片",
  download_drawn: "下载图片",
  after_of: "{name} 的转换结果",
  before_after: "{name} 转换前后对比",
  json: "JSON",
  copy: "复制",
  copied: "已复制",
  result_of: "{name} 的 JSON 结果",
  overloaded: ["服务器繁忙", "出现空位之前会拒绝新的请求。"],
  draining: ["服务器正在关闭", "另一台服务器可能很快接替。"],
  storage: ["上传所需的磁盘空间不足", "请在其他上传结束后重试，或请管理员清理磁盘。"],
  unavailable: ["服务器暂时不可用", "它正在重新启动工作进程。"],
  deadline: ["服务器太忙", "结果无法按时完成。"],
  "rate-limited": ["请求过多", "您已达到限额，限额恢复后页面会自动继续。"],
  unauthorized: ["需要 API 密钥", "服务器只接受带有有效密钥的请求。"],
  "upload-too-large": ["图片太大", "请换一个较小的文件：降低质量或减少像素后再保存。"],
  "unsupported-media": ["不接受这种文件类型", "以文件内容为准，而不是文件名。请另存为 JPEG 或 PNG。"],
  "unreadable-image": ["图片已损坏", "文件不完整或有错误。请用图片软件打开后重新保存。"],
  "too-many-pixels": ["图片像素太多", "请缩小后重试。"],
  "too-blurred": ["图片太模糊", "请选择更清晰的图片。"],
  "too-complex": ["图片解码时间过长", "请重新保存为普通（基线）JPEG。"],
  "upload-timeout": ["上传时间过长", "连接太慢，请换一个较小的文件。"],
  "bad-option": ["选项无效", "请在“选项”中更正。"],
  "no-image": ["文件是空的", "请选择另一个文件。"],
  "not-acceptable": ["此处理方式不支持所要求的格式", "请选择另一种处理方式。"],
  "not-found": ["服务器没有这种处理方式", "请重新载入页面。"],
  "deadline-exceeded": ["结果未能按时完成", "请在服务器不忙时重试。"],
  internal: ["服务器内部错误", "原因在服务器，与图片无关。"],
  network: ["无法连接服务器", "请检查服务器是否在运行，以及这台电脑是否已联网。"],
  other: ["请求失败", "服务器返回了状态 {status}。"],
  send: "发送",
  parameters: "参数",
  body: "请求正文",
  responses: "响应",
  try_it: "试一试",
  picture: "图片",
  accept: "响应格式",
  answered: "状态 {status}，用时 {ms} ms",
  schemas: "数据结构",
  raw: "openapi.json",
  home: "用图片试一试",
  example: "示例",
  required: "必填",
  default_is: "默认值：{value}",
  headers: "响应头",
};

const TABLES = { en: EN, "zh-CN": ZH };
let language = (navigator.language || "en").toLowerCase().startsWith("zh") ? "zh-CN" : "en";
const listeners = [];

// Returns the text for `key` with its `{names}` filled in, or `key` itself when there is no text.
export function t(key, values = {}) {
  const words = TABLES[language][key] ?? key;
  return String(words).replace(/\{(\w+)\}/g, (all, name) => values[name] ?? all);
}

export function has(key) {
  return key in EN;
}

// Returns [title, advice] for a kind of failure.
export function failure(kind, values) {
  const [title, advice] = TABLES[language][has(kind) ? kind : "other"];
  return [title, advice.replace(/\{(\w+)\}/g, (all, name) => values?.[name] ?? all)];
}

export function number(value, digits = 0, least = 0) {
  return value.toLocaleString(language, { maximumFractionDigits: digits, minimumFractionDigits: least });
}

// Calls `listener` now and after each change of the language.
export function onLanguage(listener) {
  listeners.push(listener);
  listener();
}

export function offLanguage(listener) {
  listeners.splice(listeners.indexOf(listener), 1);
}

function translate() {
  document.documentElement.lang = language;
  for (const element of document.querySelectorAll("[data-t]")) element.textContent = t(element.dataset.t);
  for (const element of document.querySelectorAll("[data-t-label]")) {
    element.setAttribute("aria-label", t(element.dataset.tLabel));
  }
}

// Makes `button` switch the language; its label is the other language.
export function addSwitch(button) {
  onLanguage(() => {
    translate();
    button.textContent = language === "en" ? "中文" : "English";
    button.lang = language === "en" ? "zh-CN" : "en";
  });
  button.addEventListener("click", () => {
    language = language === "en" ? "zh-CN" : "en";
    for (const listener of [...listeners]) listener();
  });
}

// The keys of each language, for a test.
export const keys = () => Object.values(TABLES).map((table) => Object.keys(table));
