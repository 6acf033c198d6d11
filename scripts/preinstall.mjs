// Runs where gradprompt is installed as a package, before the install scripts of what it depends on. onnxruntime-node's script downloads
// CUDA libraries on Linux x64 (from outside the npm registry, and fails where that cannot be reached) unless it finds their files. A
// small text in the place of each tells it that nothing is wanted. Whoever asked for the libraries gets them; nothing here can fail
// an installation, except that the package itself is incomplete.
import { existsSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
if (!existsSync(join(root, 'dist')) && !existsSync(join(root, 'scripts', 'setup.mjs'))) {
  console.error('gradprompt: this package was packed before it was built; pack it with `npm run pack`')
  process.exit(1)
}

const asked = ['ONNXRUNTIME_NODE_INSTALL', 'ONNXRUNTIME_NODE_INSTALL_CUDA'].flatMap(name => [
  name,
  `npm_config_${name.toLowerCase()}`,
])
if (!asked.some(name => process.env[name])) {
  for (const file of missingLibraries()) {
    try {
      writeFileSync(
        file,
        'Not a library: gradprompt left it out. To download it: node node_modules/onnxruntime-node/script/install.js --onnxruntime-node-install\n',
        { flag: 'wx' },
      )
    } catch {
      // A folder that cannot be written: onnxruntime-node's own script decides.
    }
  }
}

/** The files that the script of the installed onnxruntime-node would download; none where it is not installed or laid out otherwise. */
function missingLibraries() {
  const require = createRequire(import.meta.url)
  try {
    const folder = dirname(require.resolve('onnxruntime-node/package.json'))
    const { requirements, manifests } = require(join(folder, 'script', 'install-metadata.js'))
    const platform = `${process.platform}/${process.arch}`
    return (requirements[platform] ?? [])
      .flatMap(name => Object.keys(manifests[`${platform}:${name}`] ?? {}))
      .map(file => join(folder, 'bin', 'napi-v6', platform, file))
      .filter(file => !existsSync(file))
  } catch {
    return []
  }
}
