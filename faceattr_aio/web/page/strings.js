// What the page says, in English and Simplified Chinese. A failure has a title and an advice under its type.

const EN = {
  skip: "Skip to choosing a picture",
  links: "Links",
  intake: "Choose pictures",
  pictures: "Pictures",
  in_flight: "In flight",
  rate: "Requests/s",
  refused: "Refused",
  refused_value: "{total} ({rate}/s)",
  invite: "Drop pictures here",
  limits: "{formats}, up to {size} MB each",
  choose: "Choose pictures",
  take: "Take a picture",
  shoot: "Take it",
  paste: "or paste one with Ctrl+V",
  pipeline: "Pipeline",
  options: "Options",
  caution: "These are estimates of how a face looks, often off by years. Nobody should decide about a person by them.",
  privacy: "Nobody is identified. A picture goes to this server only and is not kept.",
  key_title: "An API key is needed",
  key_why: "This server answers those who show a key. It is kept until this page is closed, and nowhere else.",
  key_wrong: "That key is not valid here.",
  key: "API key",
  cancel: "Cancel",
  go: "Continue",
  no_camera: "The camera cannot be used: {why}",
  queued: "Waiting for its turn",
  uploading: "Uploading, {percent} %",
  working: "Being worked on",
  drawing: "Drawing",
  remove: "Remove {name}",
  again: "Try again",
  now: "Try now",
  stop: "Stop trying",
  again_in: "Trying again in {seconds} s",
  full: "{in_flight} of {limit} places are taken.",
  server_said: "The server said: {detail}",
  found: "{count} faces",
  found_one: "1 face",
  found_none: "No face was found",
  found_person: "1 person",
  found_nobody: "Nobody was found",
  found_none_advice: "With the option detail = high, small faces are found too.",
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
  sure: "sure to {percent} %",
  faces_of: "Faces in {name}",
  interval_note: "The range holds the true age four times in five.",
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
  total: "{ms} ms in all",
  download: "Download with boxes",
  download_drawn: "Download the picture",
  after_of: "What became of {name}",
  before_after: "{name}, before and after",
  json: "JSON",
  copy: "Copy",
  copied: "Copied",
  result_of: "Answer for {name}",
  overloaded: ["The server is full", "It does as much as it can and refuses the rest at once."],
  draining: ["The server is going down", "Another one may take over soon."],
  storage: ["The server has no room for uploads", "Somebody has to make room on its disk, or the uploads of others have to end."],
  unavailable: ["The server cannot work at the moment", "It is starting its workers again."],
  deadline: ["The answer would come too late", "The server is too busy to be done in time."],
  "rate-limited": ["You have had your share", "Others are served meanwhile. It goes on by itself."],
  unauthorized: ["An API key is needed", "The server answers only those who show a valid one."],
  "upload-too-large": ["The picture is too large", "Send a smaller file: save it with a lower quality or fewer pixels."],
  "unsupported-media": ["This is not a picture the server takes", "What counts is the content of the file, not its name. Save it as JPEG or PNG."],
  "unreadable-image": ["The picture is damaged", "It is cut short or broken. Save it anew from a program that can open it."],
  "too-many-pixels": ["The picture has too many pixels", "Scale it down and try again."],
  "too-blurred": ["The picture is too blurred", "Choose a sharper one."],
  "too-complex": ["The picture takes too long to decode", "Save it anew, as a plain (baseline) JPEG."],
  "upload-timeout": ["The upload took too long", "The connection was too slow. Try a smaller file."],
  "bad-option": ["An option is out of range", "Correct it under Options."],
  "no-image": ["The file is empty", "Choose another one."],
  "not-acceptable": ["This pipeline cannot answer in that form", "Choose another pipeline."],
  "not-found": ["The server does not know this pipeline", "Load the page anew."],
  "deadline-exceeded": ["The answer came too late", "The server had no time left for this picture."],
  internal: ["Something failed on the server", "That is its fault, not the picture's."],
  network: ["The server cannot be reached", "Is it running, and is this computer connected?"],
  other: ["The request failed", "The server answered with status {status}."],
  // The page at /docs.
  send: "Send",
  parameters: "Parameters",
  body: "Body",
  responses: "Answers",
  try_it: "Try it",
  picture: "Picture",
  accept: "Answer as",
  answered: "Answered {status} in {ms} ms",
  schemas: "Schemas",
  raw: "The document",
  home: "Try it on a picture",
  example: "Example",
  required: "required",
  default_is: "default {value}",
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
  caution: "结果只是对面部外观的估计，年龄常有数岁误差，任何人都不应据此对他人作出决定。",
  privacy: "不识别身份。图片只发送到本服务器，且不会保存。",
  key_title: "需要 API 密钥",
  key_why: "本服务器只响应持有密钥的请求。密钥只保留到关闭此页面为止，不会存到别处。",
  key_wrong: "此密钥在这里无效。",
  key: "API 密钥",
  cancel: "取消",
  go: "继续",
  no_camera: "无法使用摄像头：{why}",
  queued: "排队等待中",
  uploading: "正在上传，{percent} %",
  working: "正在处理",
  drawing: "正在绘制",
  remove: "移除 {name}",
  again: "重试",
  now: "立即重试",
  stop: "停止重试",
  again_in: "{seconds} 秒后重试",
  full: "{limit} 个位置已占用 {in_flight} 个。",
  server_said: "服务器的说明：{detail}",
  found: "{count} 张人脸",
  found_one: "1 张人脸",
  found_none: "没有找到人脸",
  found_person: "1 个人",
  found_nobody: "没有找到人",
  found_none_advice: "把选项 detail 设为 high，也能找到较小的人脸。",
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
  after_of: "{name} 转换后的样子",
  before_after: "{name} 转换前后对比",
  json: "JSON",
  copy: "复制",
  copied: "已复制",
  result_of: "{name} 的结果",
  overloaded: ["服务器已满", "它正在全力处理，超出的请求会立即被拒绝。"],
  draining: ["服务器正在关闭", "很快可能有另一台接替。"],
  storage: ["服务器没有空间存放上传内容", "需要有人清理磁盘，或等其他人的上传结束。"],
  unavailable: ["服务器暂时无法工作", "它正在重新启动工作进程。"],
  deadline: ["结果会来得太晚", "服务器太忙，无法按时完成。"],
  "rate-limited": ["您的份额已用完", "此时正在为其他人服务，稍后会自动继续。"],
  unauthorized: ["需要 API 密钥", "服务器只响应出示有效密钥的请求。"],
  "upload-too-large": ["图片太大", "请换一个较小的文件：降低质量或减少像素后再保存。"],
  "unsupported-media": ["服务器不接受这种文件", "判断依据是文件内容而不是文件名。请另存为 JPEG 或 PNG。"],
  "unreadable-image": ["图片已损坏", "文件不完整或有错误。请用能打开它的程序重新保存。"],
  "too-many-pixels": ["图片像素太多", "请缩小后重试。"],
  "too-blurred": ["图片太模糊", "请选择更清晰的图片。"],
  "too-complex": ["图片解码时间过长", "请重新保存为普通（基线）JPEG。"],
  "upload-timeout": ["上传时间过长", "连接太慢，请换一个较小的文件。"],
  "bad-option": ["选项超出范围", "请在“选项”中更正。"],
  "no-image": ["文件是空的", "请选择另一个文件。"],
  "not-acceptable": ["此处理方式不能以这种形式回答", "请选择另一种处理方式。"],
  "not-found": ["服务器没有这种处理方式", "请重新载入页面。"],
  "deadline-exceeded": ["结果来得太晚", "服务器没有时间处理这张图片了。"],
  internal: ["服务器出错", "这是服务器的问题，不是图片的问题。"],
  network: ["无法连接服务器", "服务器在运行吗？这台电脑联网了吗？"],
  other: ["请求失败", "服务器返回了状态 {status}。"],
  send: "发送",
  parameters: "参数",
  body: "正文",
  responses: "回答",
  try_it: "试一试",
  picture: "图片",
  accept: "回答形式",
  answered: "状态 {status}，用时 {ms} ms",
  schemas: "数据结构",
  raw: "文档原文",
  home: "用图片试一试",
  example: "示例",
  required: "必填",
  default_is: "默认 {value}",
  headers: "响应头",
};

const TABLES = { en: EN, "zh-CN": ZH };
let language = (navigator.language || "en").toLowerCase().startsWith("zh") ? "zh-CN" : "en";
const listeners = [];

// The words for `key`, with `{names}` filled in; an own name, as of a stage that is not known here, stays as it is.
export function t(key, values = {}) {
  const words = TABLES[language][key] ?? key;
  return String(words).replace(/\{(\w+)\}/g, (all, name) => values[name] ?? all);
}

export function has(key) {
  return key in EN;
}

// [title, advice] of a failure.
export function failure(kind, values) {
  const [title, advice] = TABLES[language][has(kind) ? kind : "other"];
  return [title, advice.replace(/\{(\w+)\}/g, (all, name) => values?.[name] ?? all)];
}

export function number(value, digits = 0, least = 0) {
  return value.toLocaleString(language, { maximumFractionDigits: digits, minimumFractionDigits: least });
}

// Calls `listener` now and whenever the language changes.
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

// A button that switches; it says, in the other language, what it switches to.
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

// The keys of each language, which a test compares.
export const keys = () => Object.values(TABLES).map((table) => Object.keys(table));
