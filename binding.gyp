# A thin driver for tools that expect gyp: CMakeLists.txt describes the build.
{
  "targets": [
    {
      "target_name": "g2rpo",
      "type": "none",
      "actions": [
        {
          "action_name": "cmake",
          "inputs": ["CMakeLists.txt"],
          "outputs": ["build/Release/g2rpo.node"],
          "action": ["node", "scripts/native.mjs"]
        }
      ]
    }
  ]
}
